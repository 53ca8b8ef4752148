"""DVC finds a new project set up, as it does it itself."""

import json
import sys

import pytest
from conftest import TOOLS
from projects import SLUG
from test_questions import CHOICES

REMOTES = {  # answers: the URL and the options as one would give them to DVC
    ("local", ""): (f"../{SLUG}-storage", {}),
    ("local", "../my store"): ("../my store", {}),
    ("local", "deep/er"): ("deep/er", {}),
    ("local", "/srv/store"): ("/srv/store", {}),
    ("local", "~/store"): ("~/store", {}),
    ("s3", "s3://bucket/p"): ("s3://bucket/p", {}),
    ("s3_compatible", "http://127.0.0.1:9000/bucket/a/b"): (
        "s3://bucket/a/b",
        {"endpointurl": "http://127.0.0.1:9000"},
    ),
    ("gcs", "gs://bucket"): ("gs://bucket", {}),
    ("azure", "https://acme.blob.core.windows.net/data/a/b"): (
        "azure://data/a/b",
        {"account_name": "acme"},
    ),
    ("ssh", "ssh://me@host:2222/srv/data"): ("ssh://me@host:2222/srv/data", {}),
    ("webdav", "webdavs://host/dav/data"): ("webdavs://host/dav/data", {}),
}


def test_every_storage_is_set_up():
    assert {storage for storage, _ in REMOTES} == set(CHOICES["storage"])


@pytest.mark.parametrize("answers", REMOTES, ids=" ".join)
def test_dvc_is_set_up_as_dvc_itself_does(render, run, git, tmp_path, answers):
    url, options = REMOTES[answers]
    given = {"storage": answers[0]} | ({"storage_url": answers[1]} if answers[1] else {})
    render(tmp_path, env={"CD4ML_INIT": "render"}, **given)
    reference = tmp_path / "reference"
    git(tmp_path, "init", "--quiet", reference)
    run(TOOLS / "dvc", "init", "--quiet", cwd=reference)
    run(TOOLS / "dvc", "remote", "add", "--quiet", "--default", "storage", url, cwd=reference)
    for option, value in [*options.items(), ("verify", "true")]:
        run(TOOLS / "dvc", "remote", "modify", "storage", option, value, cwd=reference)
    for name in (".dvc/config", ".dvc/.gitignore", ".dvcignore"):
        assert (tmp_path / SLUG / name).read_bytes() == (reference / name).read_bytes(), name
    static = {p.name for p in (tmp_path / SLUG / ".dvc").iterdir()}
    assert static == {p.name for p in (reference / ".dvc").iterdir()} - {"tmp"}


def test_dvc_works_at_once(project, run, git):
    assert "storage" in run(TOOLS / "dvc", "remote", "list", cwd=project).stdout
    run(TOOLS / "dvc", "status", cwd=project)
    assert git(project, "status", "--porcelain") == ""


def test_a_storage_is_added_by_one_row(template, render, run, git, tmp_path):
    """What CONTRIBUTING.md says: a row, its label, and the project knows it everywhere."""
    source = tmp_path / "template"
    git(tmp_path, "clone", "--quiet", template, source)
    questions = json.loads((source / "cookiecutter.json").read_text())
    questions["storage"].append("cupboard")
    questions["__prompts__"]["storage"]["cupboard"] = "A cupboard"
    row = {"extra": "[http]", "login": "Turn the key.", "pattern": "/.+/[a-z]+"}
    row |= {"remote": ["url = {url}"], "secrets": {"CUPBOARD_KEY": ""}, "url": "/room/cupboard"}
    questions["_storages"]["cupboard"] = row
    (source / "cookiecutter.json").write_text(json.dumps(questions))
    git(source, "commit", "--all", "--quiet", "--message", "Add a cupboard")
    answers = {"storage": "cupboard", "storage_url": str(tmp_path / "shelf")}
    refused = render(tmp_path, source=source, check=False, **answers | {"storage_url": "shelf"})
    assert 'names no place of the storage cupboard: write one like "/room/cupboard"' in (
        refused.stderr
    )
    render(tmp_path, source=source, env={"CD4ML_INIT": "1"}, **answers)
    project = tmp_path / SLUG
    assert "Turn the key." in (project / "README.md").read_text()
    assert '"dvc[http]>=' in (project / "pyproject.toml").read_text()
    told = run(sys.executable, "-m", "delivery", "doctor", cwd=project, check=False).stdout
    assert "missing  CUPBOARD_KEY" in told
    (project / "dvc.yaml").unlink()
    (project / "data/x").write_text("x")
    run(TOOLS / "dvc", "add", "--quiet", "data/x", cwd=project)
    assert "1 files pushed" in run(sys.executable, "-m", "delivery", "push", cwd=project).stdout
    assert len(list((tmp_path / "shelf").glob("files/md5/*/*"))) == 1
    moved = run(
        sys.executable, "-m", "delivery", "storage", "cupboard", "x", cwd=project, check=False
    )
    assert 'write one like "/room/cupboard"' in moved.stderr
