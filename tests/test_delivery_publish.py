"""An image reaches a real registry once a commit, with its tags and the list of what it holds."""

import json
import shutil
import subprocess
import sys
import urllib.request

import pytest
import registry
from conftest import ROOT, TOOLS

sys.dont_write_bytecode = True  # it would be rendered
sys.path.insert(0, str(ROOT / "{{cookiecutter.project_slug}}"))

from delivery.registry import Registry  # noqa: E402

KIND = "application/vnd.cyclonedx+json"
LOCK = """stages:
  all:
    outs:
    - {path: models, md5: model-1}
    - {path: data/features/online.lmdb, md5: features-1}
    - {path: data/raw, md5: data-1}
"""

# An engine that builds nothing: it keeps the labels, and pushes an image that is only those.
ENGINE = """
import json, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import registry
store = Path({store!r})
verb, *words = sys.argv[1:]
if verb == "info":
    sys.exit()
if verb == "build":
    given = dict(words[i + 1].split("=", 1) for i, w in enumerate(words) if w == "--build-arg")
    stage = words[words.index("--target") + 1] if "--target" in words else "service"
    store.write_text(json.dumps([words[words.index("--tag") + 1], given, stage]))
    print("built")
    sys.exit(given["MODEL_HASH"] == "broken")
if verb == "push":
    name, given, stage = json.loads(store.read_text())
    if words != [name]:
        sys.exit("no such image")
    address, _, rest = name.partition("/")
    repository, _, tag = rest.partition(":")
    labels = {{"org.opencontainers.image.revision": given["GIT_REVISION"], "stage": stage}}
    registry.push(address, repository, tag, labels)
    sys.exit()
sys.exit("unknown command: " + verb)
"""


@pytest.fixture
def address(needs, tmp_path):
    with registry.running(needs("docker-registry"), tmp_path / "images") as address:
        yield address


@pytest.fixture(scope="module")
def lock(bake, run, tmp_path_factory):
    """The project's own lock, made once."""
    folder = tmp_path_factory.mktemp("lock") / "promotion_ranker"
    shutil.copytree(bake(), folder)
    run(TOOLS / "uv", "lock", "--quiet", cwd=folder)
    return folder / "uv.lock"


@pytest.fixture
def publish(project, run, git, tmp_path, address, lock):
    """Push the image of the commit; the engine's builds are counted."""
    programs, store = tmp_path / "bin", tmp_path / "built.json"
    programs.mkdir()
    code = ENGINE.format(tests=str(ROOT / "tests"), store=str(store))
    (tmp_path / "engine.py").write_text(code)
    command = f"{sys.executable} {tmp_path}/engine.py"
    (programs / "docker").write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    (programs / "docker").chmod(0o755)
    (programs / "uv").symlink_to(TOOLS / "uv")
    (project / "dvc.lock").write_text(LOCK)
    shutil.copy(lock, project)
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--no-verify", "--message", "Reproduce")

    def publish(*words, check=0, **more):
        command = (sys.executable, "-m", "delivery", "image", "--push", *words)
        path = f"{programs}:/usr/local/bin:/usr/bin:/bin"
        variables = {"PATH": path, "IMAGE_REGISTRY": address} | more
        store.unlink(missing_ok=True)
        done = run(*command, cwd=project, check=False, **variables)
        assert done.returncode == check, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return (done.stderr if check else done.stdout).strip(), store.exists()

    return publish


def test_a_commit_is_built_once_and_its_tags_follow(publish, project, git, address):
    digest, built = publish()
    found = Registry(f"{address}/promotion_ranker")
    commit = git(project, "rev-parse", "HEAD")
    assert built
    assert digest == found.digest(commit[:12])
    assert found.labels(digest)["org.opencontainers.image.revision"] == commit
    git(project, "tag", "v1.0.0")
    git(project, "tag", "ranker@v1.0.0")  # as GTO writes it
    assert publish() == (digest, False)
    assert found.digest("v1.0.0") == found.digest("ranker-v1.0.0") == digest


def test_the_dashboard_is_published_beside_the_service_under_the_same_tags(
    publish, project, git, address
):
    git(project, "tag", "v1.0.0")
    service, _ = publish()
    digest, built = publish("--part=dashboard")
    found = Registry(f"{address}/promotion_ranker-dashboard")
    commit = git(project, "rev-parse", "HEAD")
    assert built
    assert digest != service
    assert digest == found.digest(commit[:12]) == found.digest("v1.0.0")
    assert found.labels(digest)["stage"] == "dashboard"
    assert Registry(f"{address}/promotion_ranker").digest("v1.0.0") == service
    (listed,) = found.attached(digest, KIND)
    assert b"streamlit" in fetch(address, "promotion_ranker-dashboard", listed)
    assert publish("--part=dashboard") == (digest, False)


def test_where_a_password_closes_the_dashboard_both_are_published(publish, project, git, address):
    unset = "$(DASHBOARD_PASSWORD)"  # as Azure says it
    service, _ = publish(DASHBOARD_PASSWORD=unset)
    said, built = publish(DASHBOARD_PASSWORD="hunter2")
    commit = git(project, "rev-parse", "HEAD")
    found = Registry(f"{address}/promotion_ranker-dashboard").digest(commit[:12])
    assert built
    assert said.split() == [service, found]
    assert publish(DASHBOARD_PASSWORD="hunter2") == (said, False)


def test_a_version_never_changes(publish, project, git, address):
    publish()
    git(project, "tag", "v1.0.0")
    other = registry.push(address, "promotion_ranker", "v1.0.0", {})
    said, _ = publish(check=1)
    assert "v1.0.0 is another image: a version never changes" in said
    assert Registry(f"{address}/promotion_ranker").digest("v1.0.0") == other


def test_the_libraries_of_the_image_are_listed_beside_it(publish, address, needs):
    digest, _ = publish()
    assert publish()[0] == digest
    (artifact,) = Registry(f"{address}/promotion_ranker").attached(digest, KIND)
    skopeo = [needs("skopeo"), "inspect", "--raw", "--tls-verify=false"]
    place = f"docker://{address}/promotion_ranker@{artifact}"
    subprocess.run([*skopeo, place], capture_output=True, check=True)
    content = json.loads(fetch(address, "promotion_ranker", artifact))
    assert content["bomFormat"] == "CycloneDX"
    names = {component["name"] for component in content["components"]}
    assert {"onnxruntime", "uvicorn", "numpy"} <= names
    assert not {"dvc", "xgboost-cpu", "pytest"} & names
    assert all(component["purl"].startswith("pkg:") for component in content["components"])


def fetch(address, name, artifact):
    """The content of an attached artifact."""
    kind = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    place = f"http://{address}/v2/{name}"
    request = urllib.request.Request(f"{place}/manifests/{artifact}", headers=kind)  # noqa: S310
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        (layer,) = json.load(answer)["layers"]
    with urllib.request.urlopen(f"{place}/blobs/{layer['digest']}") as answer:  # noqa: S310
        return answer.read()


def test_what_is_not_committed_is_not_pushed(publish, project):
    (project / "params.yaml").write_text("changed")
    said, built = publish(check=2)
    assert said == "ERROR: only a commit is pushed: commit what changed, then try again"
    assert not built


def test_a_build_that_fails_pushes_nothing(publish, project, git, address):
    (project / "dvc.lock").write_text(LOCK.replace("model-1", "broken"))
    git(project, "commit", "--quiet", "--no-verify", "--all", "--message", "Break")
    said, _ = publish(check=1)
    assert "was not built" in said
    commit = git(project, "rev-parse", "HEAD")
    assert Registry(f"{address}/promotion_ranker").digest(commit[:12]) is None


def test_without_a_registry_one_sentence_says_what_to_set(publish):
    said, built = publish(check=2, IMAGE_REGISTRY=None)
    assert said == "ERROR: IMAGE_REGISTRY names no registry: set it, as in ghcr.io/team"
    assert not built
