"""Every storage against a real server: the whole life of a project in it, its faults, a move."""

import hashlib
import json
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import storages
from conftest import ROOT, TOOLS, copy
from service import ask, serving
from test_project import digests
from test_questions import CHOICES, QUESTIONS

pytestmark = pytest.mark.slow
STORAGES = [
    pytest.param(name, marks=pytest.mark.xdist_group(f"storage-{name}"))
    for name in CHOICES["storage"]
]
SERVED = STORAGES[1:]  # all but the folder: it has no login, and nothing that can be cut
MEGABYTE = 1_000_000
TAMPER = """
import sys
from delivery.storage import opened
with opened("tamper") as repo:
    remote = repo.cloud.get_remote_odb()
    for word in sys.argv[1:]:
        fault, oid = word.split("=")
        path = remote.oid_to_path(oid)
        data = remote.fs.cat_file(path)
        bad = {"flip": bytes([data[0] ^ 1]) + data[1:], "cut": data[:9], "empty": b""}[fault]
        remote.fs.remove(path)
        remote.fs.pipe_file(path, bad)
"""

BUSY = """
from delivery import storage
from dvc.exceptions import UploadError
from dvc.repo import Repo
push, refused = Repo.push, []
def push_later(repo):
    if refused:
        return push(repo)
    refused.append(repo)
    raise UploadError(2)
Repo.push = push_later
storage.push([])
"""


def test_every_storage_has_a_server():
    assert set(storages.SERVERS) == set(CHOICES["storage"])


@pytest.mark.xdist_group("storage-azure")  # its server is installed once
def test_the_benchmark_measures_every_storage(run):
    small = ("--megabytes", 1, "--files", 3)
    done = run(sys.executable, ROOT / "benchmarks/storage.py", *small, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    measured = re.findall(r"^(\w+) .* (?:push|pull)( +[\d.]+){3}$", done.stdout, re.MULTILINE)
    assert [name for name, _ in measured[::4]] == CHOICES["storage"]
    assert len(measured) == 4 * len(CHOICES["storage"])


@pytest.fixture(scope="module")
def storage(request):
    """The answer under test."""
    return request.param


@pytest.fixture(scope="module")
def place(storage, tmp_path_factory, needs):
    """Its server."""
    with storages.place(storage, tmp_path_factory.mktemp("server") / storage, needs) as found:
        yield found


@pytest.fixture(scope="session")
def deliver(run):
    """Run a verb in a project, with a Python that has DVC for every storage."""

    def deliver(project, *words, **variables):
        command = (sys.executable, "-m", "delivery", *words)
        return run(*command, cwd=project, check=False, **variables)

    return deliver


@pytest.fixture(scope="session")
def small(scratch, run):
    """A folder with the DVC files and the cache of two versions of six files of 1.2 MB."""
    folder = scratch / "small"
    data = folder / "data" / "small"
    data.mkdir(parents=True)
    run(TOOLS / "dvc", "init", "--quiet", "--no-scm", cwd=folder)
    for version in ("v1", "v2"):
        for i in range(6):
            seed = f"{i} {version if i == 0 else ''}"
            block = hashlib.shake_256(seed.encode()).digest(12 * MEGABYTE // 10)
            (data / f"{i}.bin").unlink(missing_ok=True)
            (data / f"{i}.bin").write_bytes(block)
        run(TOOLS / "dvc", "add", "--quiet", data, cwd=folder)
        shutil.copy(folder / "data" / "small.dvc", folder / version)
    return folder


@pytest.fixture
def project(request, storage, place, small, render, git, tmp_path):
    """A project of this answer with two versions of small data, the first one tagged."""
    return start(storage, place.url(request.node.originalname), small, render, git, tmp_path)


def start(storage, url, small, render, git, folder):
    render(folder, env={"CD4ML_INIT": "1"}, storage=storage, storage_url=url)
    project = folder / "promotion_ranker"
    (project / "dvc.yaml").unlink()
    shutil.copytree(small / ".dvc" / "cache", project / ".dvc" / "cache")
    (project / "data" / ".gitignore").write_text("/small\n")
    for version in ("v1", "v2"):
        shutil.copy(small / version, project / "data" / "small.dvc")
        git(project, "add", "--all")
        git(project, "commit", "--quiet", "--no-verify", "--message", version)
        git(project, "tag", version)
    git(project, "tag", "--delete", "v2")
    return project


def clone(project, git, target):
    git(project, "clone", "--quiet", project, target)
    return target


def sentence(done, *words):
    """The one line that a refusal prints; it is no stack, and says these words."""
    assert done.returncode in {1, 2}, done.stdout + done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("ERROR: ")
    for word in words:
        assert word in line
    return line


def is_whole(project, small):
    """Whether the work tree is the newest version, and no object of the cache is corrupt."""
    return (
        all(path.read_bytes() == known.read_bytes() for path, known in files(project, small))
        and len(list((project / "data" / "small").iterdir())) == 6
        and not corrupt(project)
    )


def files(project, small):
    return [(project / "data" / "small" / p.name, p) for p in (small / "data" / "small").iterdir()]


def corrupt(project):
    """Objects of the cache whose bytes are not those of their name."""
    objects = (p for p in (project / ".dvc" / "cache").rglob("*") if len(p.parent.name) == 2)
    return [
        path
        for path in objects
        if hashlib.md5(path.read_bytes()).hexdigest()  # noqa: S324 (DVC's own)
        != (path.parent.name + path.name).partition(".")[0]
        and not path.name.endswith(".tmp")
    ]


def entries(project, small):
    """The hashes of the newest version's files."""
    oid = (small / "v2").read_text().split("md5: ")[1].split()[0]
    listing = small / ".dvc" / "cache" / "files" / "md5" / oid[:2] / oid[2:]
    return [entry["md5"] for entry in json.loads(listing.read_text())]


@pytest.mark.parametrize("storage", STORAGES, indirect=True)
def test_a_project_lives_in_the_storage(
    storage, place, render, user, git, deliver, environment, tmp_path
):
    """Render, reproduce, push, clone, set up, pull: the same bytes, a clean status, a ranking."""
    answers = {"storage": storage, "storage_url": place.url("life")}
    render(tmp_path, env={"CD4ML_INIT": "1"}, **answers)
    project = tmp_path / "promotion_ranker"
    user("make", "setup", "reproduce", cwd=project)
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--no-verify", "--message", "Reproduce")
    pushed = deliver(project, "push", **place.variables)
    assert pushed.returncode == 0, pushed.stderr
    there = clone(project, git, tmp_path / "clone" / "promotion_ranker")
    user("make", "setup", "pull", cwd=there, **place.variables)
    assert digests(there) == digests(project)
    assert git(there, "status", "--porcelain") == ""
    log_in(storage, place, there, run=user)
    status = user(TOOLS / "dvc", "status", "--cloud", cwd=there, **place.variables).stdout
    assert "in sync" in status
    with serving(there, tmp_path) as address:
        status, answer = ask(address, "/rank", {"player_id": 7})
    assert (status, answer["served"], len(answer["ranking"])) == (200, "model", 12)
    assert git(there, "status", "--porcelain") == ""
    for folder in (there, project, Path(environment["HOME"])):
        assert leaks(folder, place) == []


def log_in(storage, place, project, run):
    """Log in by hand, as the README says: into `.dvc/config.local`."""
    for name, option in QUESTIONS["_storages"][storage]["secrets"].items():
        if option and name in place.variables:
            words = ("remote", "modify", "--quiet", "--local", "storage", option)
            run(TOOLS / "dvc", *words, place.variables[name], cwd=project)


def leaks(folder, place):
    """Files that hold a secret, but for the one that is meant to."""
    row = {name for row in QUESTIONS["_storages"].values() for name in row["secrets"]}
    known = [value for name, value in place.variables.items() if name in row and len(value) > 6]
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name != "config.local" and ".venv" not in path.parts
        if any(value.encode() in path.read_bytes() for value in known)
    ]


@pytest.mark.parametrize("storage", SERVED, indirect=True)
def test_wrong_credentials_are_refused(storage, place, project, small, deliver, git, tmp_path):
    login = QUESTIONS["_storages"][storage]["login"].rstrip(".")
    line = sentence(deliver(project, "push", **place.wrong), "refuses", login)
    assert leaks_into(line, place) == []
    assert deliver(project, "push", **place.variables).returncode == 0
    there = clone(project, git, tmp_path / "clone")
    sentence(deliver(there, "pull", **place.wrong), "refuses", login)
    assert not list(there.glob(".dvc/cache/files/md5/*/*"))
    assert deliver(there, "pull", **place.variables).returncode == 0
    assert is_whole(there, small)


def leaks_into(line, place):
    return [value for value in place.wrong.values() if len(value) > 30 and value in line]


@pytest.mark.parametrize("storage", STORAGES, indirect=True)
def test_a_missing_bucket_or_folder_is_named(storage, place, small, render, git, deliver, tmp_path):
    """A folder that can be made is made by the first push; until then it lacks every object."""
    url = place.absent or place.url("later")
    project = start(storage, url, small, render, git, tmp_path)
    there = clone(project, git, tmp_path / "clone")
    checked = deliver(there, "storage-check", **place.variables)
    pulled = deliver(there, "pull", **place.variables)
    pushed = deliver(project, "push", **place.variables)
    if storages.has_buckets(url):
        for done in (checked, pulled, pushed):
            sentence(done, url, "does not exist", "make that bucket or folder")
        return
    sentence(checked, "are not good")
    sentence(pulled, "`make storage-check`")
    if place.absent:
        sentence(pushed, url, "does not exist", "make that bucket or folder")
    else:
        assert pushed.returncode == 0
        assert deliver(there, "pull", **place.variables).returncode == 0
        assert is_whole(there, small)


@pytest.mark.parametrize("storage", SERVED, indirect=True)
def test_a_server_that_dies_leaves_nothing_broken(place, project, small, deliver, git, tmp_path):
    """In the middle of a push, then of a pull; the next run completes."""
    place.wire.cut_after(3 * MEGABYTE)
    done = deliver(project, "push", **place.variables)
    assert place.wire.is_cut
    place.wire.mend()
    sentence(done, "run it again")
    assert deliver(project, "push", **place.variables).returncode == 0
    there = clone(project, git, tmp_path / "clone")
    place.wire.cut_after(3 * MEGABYTE)
    done = deliver(there, "pull", **place.variables)
    assert place.wire.is_cut
    place.wire.mend()
    sentence(done, "run it again")
    assert corrupt(there) == []
    assert deliver(there, "pull", **place.variables).returncode == 0
    assert is_whole(there, small)


@pytest.mark.parametrize("storage", SERVED, indirect=True)
def test_a_dead_server_is_named_soon(place, project, deliver, git, tmp_path):
    """Not after the minutes of the clients' own retries; a look of the doctor costs no more."""
    there = clone(project, git, tmp_path / "clone")
    place.wire.close()
    url = json.loads((project / "delivery/storage.json").read_text())["url"]
    begin = time.monotonic()
    for verb, where in {"push": project, "pull": there, "storage-check": project}.items():
        done = deliver(where, verb, **place.variables, STORAGE_SECONDS="2")
        sentence(done, f"{verb} failed: {url} does not answer", "within reach")
    looked = deliver(project, "doctor", **place.variables, STORAGE_SECONDS="2")
    assert time.monotonic() - begin < 240  # seconds; else a verb takes one or more minutes
    assert re.search(rf"missing +storage +{re.escape(url)} does not answer", looked.stdout)
    place.wire.mend()
    assert deliver(project, "push", **place.variables).returncode == 0
    assert deliver(project, "storage-check", **place.variables).returncode == 1  # v1: only a tag
    looked = deliver(project, "doctor", **place.variables)
    assert re.search(r"ok +storage\n", looked.stdout)


@pytest.mark.xdist_group("storage-local")
def test_a_silent_server_is_given_up(small, render, git, deliver, tmp_path):
    """It takes the connection, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/my-bucket"
        project = start("s3_compatible", url, small, render, git, tmp_path)
        keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
        done = deliver(project, "push", **keys, STORAGE_SECONDS="3")
    sentence(done, url, "silent for 3 seconds", "STORAGE_SECONDS")
    done = deliver(project, "push", **keys, STORAGE_SECONDS="soon")
    assert done.returncode == 2
    sentence(done, "STORAGE_SECONDS is soon")


@pytest.mark.xdist_group("storage-local")
def test_a_project_that_made_nothing_yet_lacks_nothing(render, deliver, tmp_path):
    render(tmp_path, env={"CD4ML_INIT": "1"})
    done = deliver(tmp_path / "promotion_ranker", "storage-check")
    assert (done.returncode, done.stdout) == (0, "0 objects are there and whole\n")


@pytest.mark.xdist_group("storage-local")
@pytest.mark.parametrize("storage", STORAGES[:1], indirect=True)
def test_files_that_a_busy_server_refuses_are_sent_again(project, run, deliver):
    done = run(sys.executable, "-c", BUSY, cwd=project)
    assert re.search(
        r"2 files were refused: once more\n[1-9]\d* files pushed$", done.stdout.strip()
    )
    assert deliver(project, "storage-check").returncode == 1  # of the tag's version none was sent
    assert deliver(project, "storage-check", "--repair").returncode == 0


@pytest.mark.xdist_group("storage-local")
@pytest.mark.parametrize("storage", STORAGES[:1], indirect=True)
def test_a_full_disk_of_the_storage_stops_a_push(project, small, git, tmp_path, environment):
    sentence(limited(project, "push", environment), "the disk is full", "make room")
    done = limited(project, "push", environment, size=100 * MEGABYTE)
    assert done.returncode == 0, done.stderr
    there = clone(project, git, tmp_path / "clone")
    assert limited(there, "pull", environment, size=100 * MEGABYTE).returncode == 0
    assert is_whole(there, small)


@pytest.mark.parametrize("storage", STORAGES, indirect=True)
def test_a_full_disk_stops_a_pull_and_loses_nothing(
    place, project, small, deliver, git, tmp_path, environment
):
    assert deliver(project, "push", **place.variables).returncode == 0
    there = clone(project, git, tmp_path / "clone")
    done = limited(there, "pull", environment | place.variables)
    sentence(done, "the disk is full", "make room")
    assert corrupt(there) == []
    assert deliver(there, "pull", **place.variables).returncode == 0
    assert is_whole(there, small)


def limited(project, verb, variables, size=MEGABYTE):
    """Run a verb where no file can grow beyond a size."""
    return subprocess.run(
        [sys.executable, "-m", "delivery", verb],
        cwd=project,
        env=variables,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
        check=False,
    )


@pytest.mark.parametrize("storage", STORAGES, indirect=True)
def test_corrupt_objects_are_found_and_repaired(place, project, small, deliver, run, git, tmp_path):
    assert deliver(project, "push", **place.variables).returncode == 0
    # the first version is needed by its tag alone, and was never pushed
    found = deliver(project, "storage-check", **place.variables)
    sentence(found, "2 of 9 objects", "REPAIR=1")
    assert found.stdout.count("missing") == 2
    repaired = deliver(project, "storage-check", "--repair", **place.variables)
    assert repaired.returncode == 0, repaired.stderr
    bad = entries(project, small)[:3]
    tampered = [f"{fault}={oid}" for fault, oid in zip(("flip", "cut", "empty"), bad, strict=True)]
    run(sys.executable, "-c", TAMPER, *tampered, cwd=project, **place.variables)

    there = clone(project, git, tmp_path / "clone")
    sentence(deliver(there, "pull", **place.variables), "`make storage-check`")
    assert corrupt(there) == []
    found = deliver(there, "storage-check", "--repair", **place.variables)
    sentence(found, "3 of 9 objects", "REPAIR=1")
    named = [line.split(" (data/small/")[0] for line in found.stdout.splitlines()]
    assert sorted(named) == sorted(f"corrupt: {oid}" for oid in bad)

    repaired = deliver(project, "storage-check", "--repair", **place.variables)
    assert repaired.returncode == 0, repaired.stderr
    assert "9 objects are there and whole" in repaired.stdout
    assert deliver(there, "pull", **place.variables).returncode == 0
    assert is_whole(there, small)


@pytest.mark.parametrize("storage", STORAGES, indirect=True)
def test_a_project_moves_to_the_storage(storage, place, small, render, git, deliver, tmp_path):
    """What results is the render with the new answers, and the storage before as `previous`."""
    before = tmp_path / "before"
    project = start("local", str(tmp_path / "old"), small, render, git, before)
    assert deliver(project, "push").returncode == 0
    assert deliver(project, "storage-check", "--repair").returncode == 0
    there, url = clone(project, git, tmp_path / "clone"), place.url("moved")
    refused = deliver(there, "storage", storage, " ")
    sentence(refused, QUESTIONS["_storages"][storage]["url"].partition("{slug}")[0])
    assert git(there, "status", "--porcelain") == ""
    there_is_uv = {"UV": "true"}  # every DVC is in this environment already
    for _ in range(2):
        moved = deliver(there, "storage", storage, url, **place.variables, **there_is_uv)
        assert moved.returncode == 0, moved.stderr
    render(tmp_path / "new", env={"CD4ML_INIT": "1"}, storage=storage, storage_url=url)
    expected = tmp_path / "new" / "promotion_ranker"
    for name in ("README.md", "pyproject.toml", "delivery/storage.json"):
        assert (there / name).read_text() == (expected / name).read_text()
    now = (there / ".dvc/config").read_text()
    assert now.startswith((expected / ".dvc/config").read_text())
    assert "['remote \"previous\"']" in now
    shutil.rmtree(tmp_path / "old")
    for version in ("main", "v1"):
        fresh = clone(there, git, tmp_path / version)
        git(fresh, "checkout", "--quiet", version)
        shutil.copytree(there / "delivery", fresh / "delivery", dirs_exist_ok=True)
        shutil.copy(there / ".dvc/config", fresh / ".dvc/config")
        pulled = deliver(fresh, "pull", **place.variables)
        assert pulled.returncode == 0, pulled.stderr
    assert is_whole(tmp_path / "main", small)


@pytest.mark.parametrize("storage", SERVED[:1], indirect=True)
@pytest.mark.parametrize("killed", [False, True], ids=["server", "both"])
def test_a_move_cut_short_loses_nothing_and_is_run_again(
    killed, storage, place, small, render, git, deliver, environment, tmp_path
):
    """The new server dies while objects are on their way; the move is killed with it, or told."""
    old = tmp_path / "old"
    project = start("local", str(old), small, render, git, tmp_path / "before")
    assert deliver(project, "push").returncode == 0
    assert deliver(project, "storage-check", "--repair").returncode == 0
    kept, config = contents(old), (project / ".dvc/config").read_text()
    url = place.url(f"cut-{killed}")
    variables = place.variables | {"UV": "true", "STORAGE_SECONDS": "60"}
    place.wire.cut_after(3 * MEGABYTE)
    command = [sys.executable, "-m", "delivery", "storage", storage, url]
    with subprocess.Popen(
        command, cwd=project, env=environment | variables, stderr=subprocess.PIPE, text=True
    ) as move:
        while killed and move.poll() is None and not place.wire.is_cut:
            time.sleep(0.01)
        if killed:
            move.kill()
        said = move.communicate()[1]
    assert place.wire.is_cut
    place.wire.mend()
    assert move.returncode == (-signal.SIGKILL if killed else 1)
    assert killed or said.startswith("ERROR: storage failed: ")
    assert killed or "run it again" in said
    assert (project / ".dvc/config").read_text() == config  # nothing is switched half way
    assert deliver(project, "storage-check").returncode == 0

    again = deliver(project, "storage", storage, url, **variables)
    assert again.returncode == 0, again.stderr
    assert contents(old) == kept
    assert deliver(project, "storage-check", **variables).stdout.startswith("9 objects are there")
    old.rename(tmp_path / "gone")
    for version in ("main", "v1"):
        fresh = clone(project, git, tmp_path / version)
        git(fresh, "checkout", "--quiet", version)
        shutil.copytree(project / "delivery", fresh / "delivery", dirs_exist_ok=True)
        shutil.copy(project / ".dvc/config", fresh / ".dvc/config")
        pulled = deliver(fresh, "pull", **variables)
        assert pulled.returncode == 0, pulled.stderr
    assert is_whole(tmp_path / "main", small)


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("storage", SERVED[:1], indirect=True)
def test_a_living_project_moves_by_make(storage, place, living, user, git, tmp_path):
    """What the new storage needs is installed; then a fresh clone works without the old one."""
    beside = f"{living.name}-storage"
    project = copy(living, tmp_path / living.name)
    old = copy(living.with_name(beside), tmp_path / beside)
    url, variables = place.url("living"), place.variables
    git(project, "tag", "v1")
    kept = contents(old)
    user("make", "setup", cwd=project)
    told = user("make", "storage", f"TO={storage}", f"URL={url}", cwd=project, **variables).stdout
    assert f"Stored at {url}" in told
    changed = git(project, "diff", "--name-only").splitlines()
    answers = [".cruft.json", ".dvc/config", "README.md", "delivery/storage.json"]
    assert changed == [*answers, "pyproject.toml", "uv.lock"]
    user("make", "reproduce", cwd=project, **variables)
    git(project, "commit", "--all", "--quiet", "--no-verify", "--message", "Move")
    user("make", "push", cwd=project, **variables)
    assert contents(old) == kept
    shutil.rmtree(old)
    there = clone(project, git, tmp_path / "clone" / project.name)
    user("make", "setup", cwd=there, **variables)
    user("make", "pull", cwd=there, **variables)
    assert digests(there) == digests(project)
    user("make", "storage-check", cwd=there, **variables)
    assert git(there, "status", "--porcelain") == ""
