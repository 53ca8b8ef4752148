"""The same Dockerfile with the other builders: buildah, and BuildKit under a daemon of its own."""

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import base_image
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("image")]

BASE, IMAGE = "localhost/cd4ml-base:builders", "localhost/cd4ml-test:builders"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A base image as a tar file, as there is no registry."""
    tar = tmp_path_factory.mktemp("base") / "base.tar"
    base_image.make(tar)
    yield tar
    tar.unlink()


@pytest.fixture
def build(living, run, tmp_path):
    """Build by the project's own command, where only the named programs are on PATH."""

    def build(*programs, **variables):
        for program in (*programs, shutil.which("git")):
            (tmp_path / Path(program).name).symlink_to(program)
        variables |= {"PATH": tmp_path, "PYTHON_IMAGE": BASE, "IMAGE": IMAGE}
        run(living / ".venv/bin/python", "-m", "delivery", "image", cwd=living, **variables)

    return build


def check(config, living, git):
    """What every builder must have made of the file."""
    assert config["User"] == "10001:10001"
    assert config["Cmd"][:2] == ["python", "-m"]
    assert "/readyz" in config["Healthcheck"]["Test"][-1]
    revision = config["Labels"]["org.opencontainers.image.revision"]
    assert revision.removesuffix("-changed") == git(living, "rev-parse", "HEAD")


def test_buildah_builds_it(living, base, build, needs, run, git, tmp_path_factory):
    buildah, folder = needs("buildah"), tmp_path_factory.mktemp("buildah")
    limits = folder / "containers.conf"
    limits.write_text('[containers]\ndefault_ulimits=["nofile=1024:1024","nproc=4096:4096"]\n')
    variables = {"CONTAINERS_CONF": limits}

    def ask(*words):
        return run(buildah, *words, cwd=living, **variables).stdout.strip()

    container = ask("from", "scratch")
    try:
        ask("add", "--quiet", container, base, "/")
        ask("config", "--cmd", "python3", container)
        ask("commit", "--quiet", container, BASE)
        flags = "--isolation=chroot --network=host --pull=never --no-cache"
        build(buildah, BUILD_FLAGS=flags, **variables)
        check(json.loads(ask("inspect", "--type=image", IMAGE))["Docker"]["config"], living, git)
    finally:
        ask("rm", container)
        for image in (IMAGE, BASE):
            run(buildah, "rmi", image, cwd=living, check=False, **variables)


@pytest.fixture
def daemon(needs):
    """A Docker daemon that ends with the test; the variables by which its client finds it."""
    program, folder = needs("dockerd"), Path(tempfile.mkdtemp(prefix="dockerd-"))
    command = [program, "--bridge=none", "--iptables=false", f"--host=unix://{folder}/socket"]
    command += [f"--{name}={folder / name}" for name in ("data-root", "exec-root", "pidfile")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while not (folder / "socket").exists():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield {"DOCKER_HOST": f"unix://{folder}/socket", "DOCKER_CONFIG": folder / "config"}
    finally:
        process.terminate()
        process.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def test_buildkit_builds_it_and_the_container_becomes_healthy(
    living, base, build, daemon, needs, run, git
):
    clients = [Path(folder, "docker") for folder in ("/usr/bin", *os.environ["PATH"].split(":"))]
    docker = next(path for path in (*clients, Path(needs("docker"))) if path.exists())

    def ask(*words):
        return run(docker, *words, cwd=living, **daemon).stdout.strip()

    ask("import", "--change", 'CMD ["python3"]', base, BASE)
    build(docker, BUILD_FLAGS="--network=host", **daemon)
    check(json.loads(ask("image", "inspect", "--format={{json .Config}}", IMAGE)), living, git)
    container = ask("run", "--detach", "--network=none", "--read-only", "--cap-drop=all", IMAGE)
    deadline = time.monotonic() + 60
    while ask("inspect", "--format={{.State.Health.Status}}", container) != "healthy":
        assert time.monotonic() < deadline, ask("logs", container)
        time.sleep(0.5)
    ask("stop", "--time=10", container)
    assert ask("inspect", "--format={{.State.ExitCode}}", container) == "0"
