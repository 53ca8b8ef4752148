"""The default project's image, built for real and run as hardened as a platform may run it."""

import json
import os
import re
import shutil
import socket
import subprocess
import time

import base_image
import pytest
from browser import browse
from conftest import TOOLS
from registry import free_port
from service import Load, ask

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("image")]

HARDENED = (
    "--network=none",
    "--read-only",
    "--tmpfs=/tmp",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
    "--memory=512m",
    "--pids-limit=128",
)
ABSENT = ("dvc", "duckdb", "jupyterlab", "onnx", "pandas", "pip", "pytest", "scipy", "sklearn")
ABSENT += ("dask", "ipykernel", "matplotlib", "nbconvert", "pyarrow", "tqdm", "uv", "xgboost")
ASK = (
    "import sys, urllib.request as r; path, *body = sys.argv[1:]; "
    "print(r.urlopen('http://127.0.0.1:8000' + path, body[0].encode() if body else None)"
    ".read().decode())"
)
MEGABYTE = 1_000_000


def run(*command, check=True, **kwargs):
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, **kwargs
    )
    if check and done.returncode:
        pytest.fail(f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """What the engine needs where there is no daemon, no registry and no right to raise limits."""
    folder = tmp_path_factory.mktemp("engine")
    file = folder / "containers.conf"
    file.write_text(
        '[containers]\ndefault_ulimits=["nofile=1024:1024","nproc=4096:4096"]\n'
        '[engine]\nruntime="runc"\ncgroup_manager="cgroupfs"\nevents_logger="file"\n'
    )
    return os.environ | {"CONTAINERS_CONF": str(file)}


@pytest.fixture(scope="module")
def engine(settings):
    """The engine, tried by a question; without one, skip, or fail where one is required."""
    for name, helper in (("docker", "docker"), ("podman", "runc")):
        here = shutil.which(name) and shutil.which(helper)
        if here and not run(name, "ps", env=settings, check=False).returncode:
            return name
    message = "there is no engine: install podman and runc"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="module")
def variables(engine, settings, tmp_path_factory):
    """The build's variables, with a base image that needs no registry."""
    name = os.environ.get("CD4ML_BASE_IMAGE")
    flags = ["--network=host"]
    if not name:
        name, tar = "localhost/cd4ml-base:test", tmp_path_factory.mktemp("base") / "base.tar"
        base_image.make(tar)
        run(engine, "import", "--change", 'CMD ["python3"]', tar, name, env=settings)
        tar.unlink()
    if engine == "podman":
        flags += ["--isolation=chroot", "--pull=never"]
    return settings | {"PYTHON_IMAGE": name, "BUILD_FLAGS": " ".join(flags)}


@pytest.fixture(scope="module")
def image(living, engine, variables):
    """The image of the project, by its own command."""
    name = "localhost/cd4ml-test:service"
    run("make", "image", cwd=living, env=variables | {"IMAGE": name})
    yield name
    run(engine, "rmi", "--force", name, env=variables, check=False)


@pytest.fixture
def start(engine, image, variables):
    """Start a container with some options; it is removed at the end."""
    started = []

    def start(*options):
        extra = ["--no-healthcheck"] if engine == "podman" else []  # its timers need systemd
        command = [engine, "run", "--detach", *extra, *options, image]
        started.append(run(*command, env=variables).stdout.strip())
        return started[-1]

    yield start
    for container in started:
        run(engine, "rm", "--force", container, env=variables, check=False)


@pytest.fixture
def within(engine, variables):
    """Run Python in a container."""

    def within(container, code, *arguments, check=True):
        command = [engine, "exec", container, "python", "-c", code, *arguments]
        return run(*command, env=variables, check=check)

    return within


@pytest.fixture
def hardened(start, within):
    """A container without network, rights or a writable root, once it is ready."""
    container = start(*HARDENED)
    deadline = time.monotonic() + 60
    while within(container, ASK, "/readyz", check=False).returncode:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return container


def inspect(engine, image, variables, what):
    command = [engine, "image", "inspect", "--format", f"{{{{json {what}}}}}", image]
    return json.loads(run(*command, env=variables).stdout)


def test_the_image_says_what_it_is_made_of(living, engine, image, variables):
    config = inspect(engine, image, variables, ".Config")
    lock = (living / "dvc.lock").read_text()
    labels = config["Labels"]
    for kind in ("model", "features", "data"):
        assert f"md5: {labels[f'ml.{kind}.hash']}" in lock
    head = run("git", "rev-parse", "HEAD", cwd=living).stdout.strip()
    assert labels["org.opencontainers.image.revision"].removesuffix("-changed") == head
    told = run("git", "log", "-1", "--format=%cI", cwd=living).stdout.strip()
    assert labels["org.opencontainers.image.created"] == told
    assert config["User"] == "10001:10001"
    assert config["Cmd"][:2] == ["python", "-m"]


def test_it_ranks_like_the_project_itself(living, hardened, within):
    package = next(living.glob("src/*/__init__.py")).parent.name
    code = f"from {package}.ranking import Ranker; print(*Ranker().rank(7, None)[:2], sep=';')"
    local = run(living / ".venv/bin/python", "-c", code, cwd=living).stdout.strip()
    answer = json.loads(within(hardened, ASK, "/rank", '{"player_id": 7}').stdout)
    ids = [item["promotion_id"] for item in answer["ranking"]]
    expected = [item["expected_revenue"] for item in answer["ranking"]]
    assert f"{ids};{expected}" == local
    version = json.loads(within(hardened, ASK, "/version").stdout)
    assert "unknown" not in (version["revision"], version["revision_time"])
    assert version["model"] == answer["model"]


def test_it_holds_the_service_and_nothing_else(hardened, within):
    code = "import importlib.util as u, sys; print(*filter(u.find_spec, sys.argv[1:]))"
    found = set(within(hardened, code, *ABSENT).stdout.split())
    assert found <= {"pip"}  # of the base image, not of the service
    code = (
        "import pathlib, sysconfig; place = pathlib.Path(sysconfig.get_path('purelib')); "
        "files = [f for f in place.rglob('*') if f.is_file()]; "
        "print(sum(f.stat().st_size for f in files)); "
        "print(*sorted(p.name for p in pathlib.Path('/app').rglob('*') if '.venv' not in p.parts))"
    )
    size, names = within(hardened, code).stdout.splitlines()
    assert int(size) <= 160 * MEGABYTE
    assert "model.onnx" in names
    assert not re.search(r"test_|conftest|model\.ubj|\.parquet|uv\.lock", names)


def test_it_writes_nothing_and_its_byte_code_is_valid(engine, hardened, within, variables):
    within(hardened, ASK, "/rank", '{"player_id": 7}')
    code = "import os; print(os.listdir('/tmp'), os.getuid()); open('/app/x', 'w')"
    result = within(hardened, code, check=False)
    assert result.stdout.strip() == "[] 10001"
    assert "Read-only file system" in result.stderr
    changed = run(engine, "diff", hardened, env=variables).stdout.split("\n")
    assert not [line for line in changed if line.startswith(("A /app", "C /app", "A /root"))]
    code = (
        "import sys; compiled = []; "
        "sys.addaudithook(lambda n, a: n == 'compile' and str(a[1]).endswith('.py') "
        "and compiled.append(a[1])); "
        "import importlib, os; name = next(n for n in os.listdir('/app/src')); "
        "importlib.import_module(name + '.serve'); print([c for c in compiled if '/app' in c])"
    )
    assert within(hardened, code).stdout.strip() == "[]"


def test_its_own_health_check_passes(engine, image, hardened, within, variables):
    test = inspect(engine, image, variables, ".Config.Healthcheck")["Test"]
    assert test[:3] == ["CMD", "python", "-c"]
    assert "/readyz" in test[3]
    within(hardened, test[3])


def test_sigterm_under_load_answers_what_was_accepted(engine, start, variables):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    container = start("--network=host", "--env=HOST=127.0.0.1", f"--env=PORT={port}", "--read-only")
    address = f"http://127.0.0.1:{port}"
    for _ in range(300):
        try:
            ask(address, "/readyz")
            break
        except OSError:
            time.sleep(0.1)
    with Load(address) as load:
        time.sleep(1)
        run(engine, "stop", "--time", "10", container, env=variables)
    lines = run(engine, "logs", container, env=variables).stdout.splitlines()
    state = run(engine, "inspect", "--format", "{{.State.ExitCode}}", container, env=variables)
    assert state.stdout.strip() == "0"
    assert set(load.statuses) == {200}
    assert len(load.statuses) == len(lines) > 50


@pytest.mark.parametrize("path", ["models/baseline.json", "data/features/online.lmdb"])
def test_files_that_dvc_lock_does_not_name_stop_the_build(living, image, variables, tmp_path, path):
    ignored = shutil.ignore_patterns(".venv", ".git", "cache", "raw")
    copy = shutil.copytree(living, tmp_path / "copy", ignore=ignored)
    with (copy / path).open("ab") as file:
        file.write(b" ")
    command = [living / ".venv/bin/python", "-m", "delivery", "image"]
    done = run(*command, cwd=copy, env=variables | {"IMAGE": "localhost/no:1"}, check=False)
    assert done.returncode == 1
    assert "but dvc.lock says" in done.stdout + done.stderr


def test_the_same_commit_gives_the_same_digest(living, engine, image, variables):
    if engine != "podman":
        pytest.skip("only podman and buildah can set the time of every layer")
    digests = set()
    for number in range(2):
        name = f"localhost/cd4ml-test:again{number}"
        flags = variables["BUILD_FLAGS"] + " --format=oci --timestamp=0 --no-cache"
        given = variables | {"IMAGE": name, "BUILD_FLAGS": flags}
        run(living / ".venv/bin/python", "-m", "delivery", "image", cwd=living, env=given)
        digests.add(inspect(engine, name, variables, ".Digest"))
        run(engine, "rmi", "--force", name, env=variables)
    assert len(digests) == 1


def test_without_an_engine_the_command_says_what_to_install(living, tmp_path):
    command = [living / ".venv/bin/python", "-m", "delivery", "image"]
    done = run(*command, cwd=living, env=os.environ | {"PATH": str(tmp_path)}, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "ERROR: there is no engine: install podman, docker (and start it) or buildah\n"
    )


def test_the_dockerfile_is_clean_and_builds_everywhere(living):
    result = run(TOOLS / "hadolint", living / "Dockerfile", check=False)
    assert result.stdout == ""
    text = (living / "Dockerfile").read_text()
    for trap in ("# syntax=", "<<", "COPY --link", "COPY --parents", "COPY . ", "start-interval"):
        assert trap not in text


def test_the_dashboard_is_an_image_of_its_own_and_shows_its_service_to_who_knows_the_password(
    living, start, start_dashboard, within, needs, tmp_path
):
    port, page_port = free_port(), free_port()
    start("--network=host", "--env=HOST=127.0.0.1", f"--env=PORT={port}", "--read-only")
    told = {"DASHBOARD_PASSWORD": "hunter2", "SERVICE": f"http://127.0.0.1:{port}"}
    told |= {"STREAMLIT_SERVER_ADDRESS": "127.0.0.1", "STREAMLIT_SERVER_PORT": page_port}
    options = [f"--env={name}={value}" for name, value in told.items()]
    container = start_dashboard(*HARDENED[1:], "--network=host", *options)
    elsewhere = {"ADDRESS": "127.0.0.2", "PORT": page_port}  # as other machines reach it, and open
    options = [f"--env=STREAMLIT_SERVER_{name}={value}" for name, value in elsewhere.items()]
    start_dashboard(*HARDENED[1:], "--network=host", *options)
    code = "import json; from delivery.targets import ASK, PATHS; "
    code += "print(json.dumps([ASK, *PATHS['dashboard']]))"
    asked = json.loads(run(living / ".venv/bin/python", "-c", code, cwd=living).stdout)
    deadline = time.monotonic() + 120
    while (answer := within(container, *asked, check=False)).returncode:
        assert time.monotonic() < deadline, answer.stderr
        time.sleep(0.5)
    head = run("git", "rev-parse", "HEAD", cwd=living).stdout.strip()
    assert json.loads(answer.stdout.splitlines()[-1])["revision"].removesuffix("-changed") == head
    with browse(needs("chromium"), tmp_path / "profile") as page:
        page.open(f"http://127.0.0.1:{page_port}/")
        page.until("document.querySelector('input[type=password]')", 60)
        page.screenshot(tmp_path / "closed.png")
        assert "The model earns" not in page.evaluate("document.body.innerText")
        page.evaluate("document.querySelector('input[type=password]').focus()")
        page.type("hunter2")
        page.press_enter()
        page.until("document.body.innerText.includes('The model earns')", 60)
        page.evaluate("document.querySelectorAll('[role=tab]')[2].click()")
        page.until("document.body.innerText.includes('First in line')", 60)
        time.sleep(1)  # charts are drawn after the words
        page.screenshot(tmp_path / "open.png")
        page.open(f"http://127.0.0.2:{page_port}/")
        page.until("document.body?.innerText.includes('set DASHBOARD_PASSWORD')", 60)
        assert "The model earns" not in page.evaluate("document.body.innerText")
        assert page.errors == []
    listed = "import importlib.util as u, os; print(u.find_spec('xgboost'), os.listdir('/app'))"
    found = within(container, listed).stdout
    assert found.startswith("None")
    assert "models" not in found
    assert "reports" in found


@pytest.fixture
def start_dashboard(living, engine, variables):
    """Build the dashboard's image and start it; both are removed at the end."""
    name, started = "localhost/cd4ml-test:dashboard", []
    run("make", "image", "PART=dashboard", cwd=living, env=variables | {"IMAGE": name})

    def start(*options):
        extra = ["--no-healthcheck"] if engine == "podman" else []
        command = [engine, "run", "--detach", *extra, *options, name]
        started.append(run(*command, env=variables).stdout.strip())
        return started[-1]

    yield start
    for container in started:
        run(engine, "rm", "--force", container, env=variables, check=False)
    run(engine, "rmi", "--force", name, env=variables, check=False)
