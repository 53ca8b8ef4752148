"""The files of the target compose on a real engine: podman in the place of docker, no stub."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import base_image
import pytest
import registry
from conftest import TOOLS

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("engine")]

# `docker` of a host that has podman: the same words, but for compose
DOCKER = """#!/bin/sh
if [ "$1" = compose ]; then
    shift
    for word do shift; [ "$word" = --quiet-pull ] || set -- "$@" "$word"; done
    exec {compose} "$@"
fi
exec podman "$@"
"""
SETTINGS = """[containers]
default_ulimits=["nofile=1024:1024","nproc=4096:4096"]
[engine]
runtime="runc"
cgroup_manager="cgroupfs"
events_logger="file"
"""
REGISTRIES = """unqualified-search-registries = []
short-name-mode = "disabled"
[aliases]
"caddy" = "localhost/cd4ml-caddy"
[[registry]]
location = "{address}"
insecure = true
"""
SERVICE = """FROM {base}
COPY stand_in.py /stand_in.py
LABEL org.opencontainers.image.revision={commit} ml.model.hash=model ml.data.hash=data
ENV PORT=8000 GIT_REVISION={commit} MODEL_HASH=model DATA_HASH=data FAULT={fault}
USER 10001:10001
CMD ["python3", "/stand_in.py"]
"""
DASHBOARD = """FROM {base}
COPY stand_in.py /stand_in.py
LABEL org.opencontainers.image.revision={commit}
ENV STREAMLIT_SERVER_PORT=8501 GIT_REVISION={commit} MODEL_HASH= DATA_HASH=
USER 10001:10001
CMD ["python3", "/stand_in.py"]
"""
CADDY = """FROM {base}
COPY caddy /usr/local/bin/caddy
ENV XDG_CONFIG_HOME=/config XDG_DATA_HOME=/data
CMD ["caddy", "run"]
"""


@pytest.fixture(scope="module")
def engine(needs, tmp_path_factory):
    """Podman with a registry of its own, as `docker` on PATH."""
    folder = tmp_path_factory.mktemp("engine")
    needs("podman")
    needs("/usr/lib/cni/dnsname")
    with registry.running(needs("docker-registry"), folder / "images") as address:
        (folder / "containers.conf").write_text(SETTINGS)
        (folder / "registries.conf").write_text(REGISTRIES.format(address=address))
        docker = folder / "bin/docker"
        docker.parent.mkdir()
        docker.write_text(DOCKER.format(compose=TOOLS / "podman-compose"))
        docker.chmod(0o755)
        yield {
            "PATH": f"{docker.parent}{os.pathsep}{os.environ['PATH']}",
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(folder / "registries.conf"),
            "IMAGE_REGISTRY": address,
            "DEPLOYED_BY": "Ada, of the team",
        }
        for kind in ("--filter=label=delivery.app", "--filter=name=delivery-proxy"):
            ids = podman("ps", "--all", "--quiet", kind, settings=os.environ).split()
            if ids:
                podman("rm", "--force", *ids, settings=os.environ)
        podman("network", "rm", "--force", "delivery", settings=os.environ)


def podman(*words, settings, check=True):
    done = subprocess.run(
        ["podman", *words], env=os.environ | settings, capture_output=True, text=True, check=False
    )
    if check and done.returncode:
        pytest.fail(f"{words} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout.strip()


@pytest.fixture(scope="module")
def base(engine, tmp_path_factory):
    folder, name = tmp_path_factory.mktemp("base"), "localhost/cd4ml-base:engine"
    base_image.make(folder / "base.tar")
    podman("import", str(folder / "base.tar"), name, settings=engine)
    (folder / "base.tar").unlink()
    return name


def build(folder, name, text, settings):
    (folder / "Containerfile").write_text(text)
    words = ("--isolation=chroot", "--pull=never", "--format=docker", "--tag", name)
    podman("build", *words, str(folder), settings=settings)


@pytest.fixture
def project(bake, tmp_path, git, engine, base):
    """The default project with three versions in the registry; the last one is never ready."""
    project = tmp_path / "promotion_ranker"
    shutil.copytree(bake(), project, symlinks=True)
    port, secure = registry.free_port(), registry.free_port()
    for name, old, new in (
        ("proxy.yaml", "80:80", f"127.0.0.1:{port}:80"),
        ("proxy.yaml", "443:443", f"127.0.0.1:{secure}:443"),
        ("environments.yaml", "ready_seconds: 60", "ready_seconds: 20"),
    ):
        file = project / "deploy" / name
        file.write_text(file.read_text().replace(old, new))
    images = tmp_path / "images"
    images.mkdir()
    shutil.copy(TOOLS / "caddy", images)
    shutil.copy(Path(__file__).with_name("stubs") / "stand_in.py", images)
    build(images, "localhost/cd4ml-caddy:2.11", CADDY.format(base=base), engine)
    for version, fault in (("v1", ""), ("v2", ""), ("v3", "unready")):
        git(project, "commit", "--quiet", "--allow-empty", "--message", version)
        git(project, "tag", version)
        commit = git(project, "rev-parse", "HEAD")
        name = f"{engine['IMAGE_REGISTRY']}/promotion_ranker:{commit[:12]}"
        build(images, name, SERVICE.format(base=base, commit=commit, fault=fault), engine)
        podman("push", name, settings=engine)
        if version == "v1":
            name = name.replace(":" + commit[:12], "-dashboard:" + commit[:12])
            build(images, name, DASHBOARD.format(base=base, commit=commit), engine)
            podman("push", name, settings=engine)
    project.joinpath("port").write_text(str(port))
    return project


def test_the_whole_sequence_on_a_real_engine(project, run, git, engine):
    port = int((project / "port").read_text())

    def verb(*words, check=0, **more):
        command = (sys.executable, "-m", "delivery", *words)
        done = run(*command, cwd=project, check=False, **engine, **more)
        assert done.returncode == check, done.stdout + done.stderr
        return done.stdout + done.stderr

    def ask(environment, path="/version", fact="revision"):
        url, host = f"http://127.0.0.1:{port}{path}", f"{environment}.localhost"
        request = urllib.request.Request(url, headers={"Host": host})
        for _ in range(50):
            try:
                with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
                    return json.load(answer)[fact]
            except urllib.error.HTTPError as error:
                if error.code == 404:
                    return None
            time.sleep(0.1)
        raise AssertionError(f"{environment} does not answer")

    commits = {name: git(project, "rev-parse", name) for name in ("v1", "v2")}
    verb("deploy", "--version=v1", "--environment=staging")
    assert ask("staging") == commits["v1"]
    verb("deploy", "--version=v2", "--environment=staging")
    assert ask("staging") == commits["v2"]
    said = verb("deploy", "--version=v3", "--environment=staging", check=1)
    assert re.search("v3 was rolled back: .*features are 9 days old.*v2 still serves", said)
    assert ask("staging") == commits["v2"]
    for _ in range(2):
        verb("review-app", "up", "--number=42", "--version=v1", DASHBOARD_PASSWORD="$ecret")
    assert ask("review-42") == ask("dashboard-review-42", "/") == commits["v1"]
    assert ask("dashboard-review-42", "/", "asks") == commits["v1"], "of another version's service"
    assert ask("dashboard-review-42", "/", "closed") is True
    assert ask("dashboard-staging", "/") is None
    verb("deploy", "--version=v1", "--environment=staging", "--share=50")
    assert {ask("staging") for _ in range(4)} == set(commits.values())
    verb("rollback", "--environment=staging")
    assert {ask("staging") for _ in range(5)} == {commits["v2"]}
    verb("rollback", "--environment=staging")
    assert ask("staging") == commits["v1"]
    rows = json.loads(verb("status", "--json"))
    assert [(row["environment"], row["version"]) for row in rows] == [
        ("review-42", "v1"),
        ("staging", "v1"),
    ]
    for _ in range(2):
        verb("review-app", "down", "--number=42")
    assert ask("review-42") is ask("dashboard-review-42", "/") is None
    (name,) = podman("ps", "--filter=label=delivery.app", "--quiet", settings=engine).split()
    (found,) = json.loads(podman("inspect", name, settings=engine))
    assert found["HostConfig"]["ReadonlyRootfs"]
    assert found["EffectiveCaps"] in (None, [])
    assert found["HostConfig"]["PidsLimit"] == 128
    assert found["HostConfig"]["Memory"] == 512 * 2**20
