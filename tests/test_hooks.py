"""The functions of the hooks, without rendering."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_questions import QUESTIONS

HOOKS = Path(__file__).parents[1] / "hooks"
GOOD = {
    "_storages": QUESTIONS["_storages"],
    "project_name": "Promotion Ranker",
    "project_slug": "promotion_ranker",
    "description": "Ranks promotions.",
    "author_name": "Data Team",
    "author_email": "data@example.com",
    "storage": "local",
    "storage_url": "../storage",
}


def load(name):
    spec = importlib.util.spec_from_file_location(name, HOOKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pre = load("pre_gen_project")
post = load("post_gen_project")


@pytest.mark.parametrize("hook", [pre, post])
def test_hook_has_one_line_of_jinja(hook):
    source = Path(hook.__file__).read_text("utf-8")
    marked = [line for line in source.splitlines() if any(m in line for m in ("{{", "{%", "{#"))]
    assert marked == [f'CONTEXT = r"""{hook.CONTEXT}"""']


@pytest.mark.parametrize("hook", [pre, post])
def test_hook_imports_nothing_that_is_slow_to_load(hook):
    slow = {"argparse", "asyncio", "dataclasses", "shutil", "tempfile", "typing"}
    code = (
        f"import sys; sys.path.append({str(HOOKS)!r}); import {hook.__name__}; print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-ISc", code], capture_output=True, text=True, check=True
    )
    assert slow.isdisjoint(done.stdout.split())


# Answers


def test_good_answers_raise_no_problem(tmp_path):
    assert pre.find_problems(GOOD, tmp_path) == []


@pytest.mark.parametrize("slug", ["a", "a1", "promotion_ranker", "match", "x_2_y"])
def test_slug_accepted(slug):
    assert list(pre.check_slug(slug)) == []


@pytest.mark.parametrize(
    ("slug", "hint"),
    [
        ("../x", '"x"'),
        ("/etc", '"etc"'),
        ("1a", '"a"'),
        ("A-b", '"a_b"'),
        ("a_", '"a"'),
        ("", '"my_model"'),
        ("été", '"t"'),
        ("a b", '"a_b"'),
        ("a\n", '"a"'),
        ("class", "class_model"),
        ("json", "json_model"),
        ("test", "test_model"),
        ("tests", "tests_model"),
        ("delivery", "delivery_model"),
    ],
)
def test_slug_refused_with_a_remedy(slug, hint):
    (problem,) = pre.check_slug(slug)
    assert json.dumps(slug) in problem
    assert hint in problem


@pytest.mark.parametrize("email", ["a@b.c", "first.last+tag@mail.example.com", "ünï@example.org"])
def test_email_accepted(email):
    assert list(pre.check_email(email)) == []


@pytest.mark.parametrize(
    "email",
    ["", "nobody", "a@", "@b.c", "a@b", "a b@c.d", "a@b.c\n", "<a@b.c>", "a@b@c.d", "\x07@b.c"],
)
def test_email_refused(email):
    problems = [*pre.check_email(email), *pre.check_text("author_email", email)]
    assert problems


@pytest.mark.parametrize("text", ["", "plain", 'q"\'`"""', "\\", "a\nb\tc", "é 👩‍🔬", "{{ 7*7 }}"])
def test_text_accepted(text):
    assert list(pre.check_text("description", text)) == []


@pytest.mark.parametrize("text", ["\0", "a\x07", "\x1b[31m", "\r\n", "\x85", "\udc80"])
def test_text_refused(text):
    (problem,) = pre.check_text("description", text)
    assert problem.isprintable()


@pytest.mark.parametrize("name", ["", "   ", '"""', "-"])
def test_name_refused(name):
    assert len(list(pre.check_name("project_name", name))) == 1


def storage_row(storage):
    return {
        key: fact.replace("{slug}", "ranker") if key == "url" else fact
        for key, fact in QUESTIONS["_storages"][storage].items()
    }


def storage_problems(storage, url):
    return list(pre.check_storage(url, storage, storage_row(storage)))


PLACES = {
    "azure": ["https://acme.blob.core.windows.net/data", "https://a1b.blob.core.windows.net/d-1/x"],
    "gcs": ["gs://bucket", "gs://my_bucket.example/a/b"],
    "local": ["../s", "/a b/c", "~/s", "C:\\s", "s"],
    "s3": ["s3://bucket", "s3://my.bucket-1/a/b-c"],
    "s3_compatible": ["http://127.0.0.1:9000/bucket", "https://minio.example.com/bucket/a"],
    "ssh": ["ssh://me@host:22/p", "ssh://host/srv/data"],
    "webdav": ["webdav://127.0.0.1:8080/dvc", "webdavs://cloud.example.com/remote.php/dav/x"],
}
ELSEWHERE = {
    "azure": ["azure://data", "https://acme.blob.core.windows.net", "https://example.com/data"],
    "gcs": ["gs://", "gcs://bucket", "gs:///path", "s3://bucket"],
    "local": ["s3://bucket", "file:///srv"],
    "s3": [
        "s3://",
        "s3:///path",
        "S3://bucket",
        "s3://Bucket",
        "s3://b/x",
        "bucket",
        "s3://buc ket",
    ],
    "s3_compatible": ["s3://bucket", "https://minio.example.com", "https://minio.example.com/"],
    "ssh": ["ssh://host", "host:/srv", "sftp://host/srv", "ssh:///srv", "ssh://me@ho st/srv"],
    "webdav": ["https://cloud.example.com/x", "webdav://", "webdavs://cloud.example.com"],
}


def pairs(table):
    return [(storage, url) for storage, urls in table.items() for url in urls]


@pytest.mark.parametrize("storage", QUESTIONS["storage"])
def test_storage_has_places_that_are_tried(storage):
    assert PLACES[storage]
    assert ELSEWHERE[storage]
    assert storage_problems(storage, storage_row(storage)["url"]) == []


@pytest.mark.parametrize(("storage", "url"), pairs(PLACES))
def test_storage_accepted(storage, url):
    assert storage_problems(storage, url) == []


@pytest.mark.parametrize(
    ("storage", "url"),
    [*pairs(ELSEWHERE), *((s, u) for s in PLACES for u in ("", " ", PLACES[s][0] + " ", "a\nb"))],
)
def test_storage_refused_with_an_example(storage, url):
    (problem,) = storage_problems(storage, url)
    assert storage_row(storage)["url"] in problem
    assert "\n" not in problem


@pytest.mark.parametrize("url", ["a#b", "it's", 'a"b', "a,b"])
def test_storage_refused_that_the_configuration_cannot_hold(url):
    assert len(storage_problems("local", url)) == 1


@pytest.mark.parametrize("storage", QUESTIONS["storage"])
def test_storage_with_a_password_is_refused_and_not_repeated(storage):
    for url in (
        "ssh://me:sesame@host/p",
        "https://key:sesame@s3.example.com/bucket",
        " a://b:sesame@c",
        "https://acme.blob.core.windows.net/data?sv=2026&sig=sesame",
    ):
        (problem,) = storage_problems(storage, url)
        assert "sesame" not in problem


def test_all_problems_come_at_once(tmp_path):
    bad = GOOD | {
        "project_name": " ",
        "project_slug": "1a",
        "author_email": "x",
        "description": "\0",
    }
    assert len(pre.find_problems(bad, tmp_path)) == 4


# The folder


def test_folder_with_unsaved_work_is_refused(tmp_path, git):
    (tmp_path / "work.py").touch()
    (problem,) = pre.check_folder(tmp_path)
    assert "commit" in problem
    git(tmp_path, "init")
    assert list(pre.check_folder(tmp_path)) == [], "an unborn HEAD is a render cut short"
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "x")
    assert list(pre.check_folder(tmp_path)) == []
    (tmp_path / "new.py").touch()
    assert len(list(pre.check_folder(tmp_path))) == 1


def test_folder_that_git_ignores_is_refused(tmp_path, git):
    (tmp_path / ".gitignore").write_text("inner/\n")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "x")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "work.py").touch()
    assert len(list(pre.check_folder(tmp_path / "inner"))) == 1


def test_folder_is_refused_without_git(tmp_path, monkeypatch):
    (tmp_path / "work.py").touch()
    monkeypatch.setenv("PATH", os.devnull)
    assert len(list(pre.check_folder(tmp_path))) == 1


def test_folder_in_an_unborn_repository_is_refused(tmp_path, git):
    git(tmp_path, "init")
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "work.py").touch()
    assert len(list(pre.check_folder(inner))) == 1


# Pruning

TABLE = {
    "ci": {"github": [".github/ci.yml", "shared"], "gitlab": [".gitlab-ci.yml", "shared"]},
    "deploy": {"compose": ["deploy/compose.yaml"], "kubernetes": ["deploy/base", "deploy/x/y/z"]},
}


@pytest.mark.parametrize(
    ("ci", "deploy", "left"),
    [
        ("github", "compose", {".github/ci.yml", "shared", "deploy/compose.yaml"}),
        ("gitlab", "kubernetes", {".gitlab-ci.yml", "shared", "deploy/base/a", "deploy/x/y/z"}),
        ("none", "none", set()),
    ],
)
def test_prune_leaves_what_the_answers_need(tmp_path, ci, deploy, left):
    every = {"deploy/base/a"} | {n for a in TABLE.values() for ns in a.values() for n in ns}
    for name in {*every, "README.md"} - {"deploy/base"}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for _ in range(2):
        post.prune({"_only_for": TABLE, "ci": ci, "deploy": deploy}, tmp_path)
    assert {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()} == {
        *left,
        "README.md",
    }
    assert all(any(p.iterdir()) for p in tmp_path.rglob("*") if p.is_dir()), "no empty folders"


# Throw-away renders


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_throwaway_is_recognised(temporary):
    project = temporary / "tmpab12_x9z" / "ranker"
    project.mkdir(parents=True)
    assert post.is_throwaway({}, project)


@pytest.mark.parametrize(
    ("context", "place", "neighbour"),
    [
        ({"_output_dir": "x"}, "tmpab12_x9z/ranker", None),
        ({}, "pytest-0/ranker", None),
        ({}, "tmpab12_x9z/out/ranker", None),
        ({}, "deeper/tmpab12_x9z/ranker", None),
        ({}, "tmpab12_x9z/ranker", "tmpab12_x9z/other"),
    ],
)
def test_lasting_project_is_not_taken_for_a_throwaway(temporary, context, place, neighbour):
    (temporary / place).mkdir(parents=True)
    if neighbour:
        (temporary / neighbour).touch()
    assert not post.is_throwaway(context, temporary / place)


# Running commands


def test_run_gives_the_reason_of_a_failure(tmp_path):
    for code, reason in [
        ("sys.exit('hint\\nfatal: no way\\nmore')", "no way"),
        ("sys.exit('one\\ntwo')", "two"),
        ("sys.exit(3)", f"{sys.executable} failed"),
    ]:
        with pytest.raises(RuntimeError, match=reason):
            post.run(sys.executable, "-c", "import sys;" + code, cwd=tmp_path)
    with pytest.raises(RuntimeError, match="not on PATH"):
        post.run("no-such-command", cwd=tmp_path)
    with pytest.raises(RuntimeError, match="longer than"):
        post.run(sys.executable, "-c", "import time; time.sleep(9)", cwd=tmp_path, timeout=0.1)


def test_run_drops_the_variables_of_another_repository(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", "/elsewhere")
    monkeypatch.setenv("GIT_INDEX_FILE", "/elsewhere/index")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/mine")
    code = "import os; print(*[k for k in os.environ if k.startswith('GIT_')])"
    assert post.run(sys.executable, "-c", code, cwd=tmp_path) == "GIT_CONFIG_GLOBAL"


def test_finish_takes_every_step_and_groups_the_reasons(tmp_path):
    taken = []

    def fail(context, project):
        raise OSError("no room")

    steps = {"a": fail, "b": lambda *_: taken.append("b"), "c": fail}
    assert post.finish({}, tmp_path, steps) == {"no room": ["a", "c"]}
    assert taken == ["b"]


# The template's origin


def origin_of(folder, template="gh:org/t", checkout=None):
    where = {"_output_dir": "/out", "_repo_dir": str(folder), "_template": template}
    return post.find_origin(where | {"_checkout": checkout})


@pytest.fixture
def source(tmp_path, git):
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "cookiecutter.json").write_text("{}")
    git(folder, "init")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "x")
    return folder


def test_origin_of_a_clone_is_its_url_without_a_secret(source, git):
    git(source, "remote", "add", "origin", "https://token:word@example.com/org/t.git")
    revision = git(source, "rev-parse", "HEAD")
    found = ("https://example.com/org/t.git", revision, "v1")
    assert origin_of(source, checkout="v1") == found
    git(source, "checkout", "--detach")
    assert origin_of(source, checkout="v1") == found


def test_origin_of_a_local_template_is_its_folder_until_it_is_published(source, git, tmp_path):
    revision = git(source, "rev-parse", "HEAD")
    bare = tmp_path / "bare.git"
    git(tmp_path, "init", "--bare", bare)
    git(source, "remote", "add", "origin", f"file://{bare}")
    local = origin_of(source, template=str(source), checkout="ignored")
    assert local == (str(source), revision, None)
    git(source, "push", "--set-upstream", "origin", "HEAD:main")
    assert origin_of(source, template=str(source)) == (str(bare), revision, None)
    git(source, "commit", "--allow-empty", "-m", "ahead")
    assert origin_of(source, template=str(source))[0] == str(source)


def test_origin_of_a_changed_template_is_unknown(source):
    (source / "new").touch()
    with pytest.raises(RuntimeError, match="not committed"):
        origin_of(source)


def test_origin_of_an_unpacked_archive_is_unknown(source):
    (source / "unpacked").mkdir()
    with pytest.raises(RuntimeError, match="not a git repository"):
        origin_of(source / "unpacked")


@pytest.mark.parametrize(
    ("archive", "repository"),
    [
        ("https://github.com/o/t/archive/refs/tags/v1.zip", "https://github.com/o/t"),
        ("https://me:word@gitlab.com/g/s/t/-/archive/v1/t-v1.zip", "https://gitlab.com/g/s/t"),
        ("https://bitbucket.org/o/t/get/v1.zip", "https://bitbucket.org/o/t"),
        ("/srv/t-v1.zip", "/srv/t-v1.zip"),
    ],
)
def test_origin_of_an_archive_is_the_repository_and_the_commit_in_it(source, archive, repository):
    note, revision = source / ".git_archival.txt", "0123456789" * 4
    (source / ".git").rename(source / "away")
    note.write_text(f"node: {revision}\n")
    assert origin_of(source, template=archive) == (repository, revision, None)
    note.write_text("node: $Format:%H$\n")
    with pytest.raises(RuntimeError, match="not a git repository"):
        origin_of(source, template=archive)


def test_scripts_of_an_archive_alone_are_marked_as_such(tmp_path):
    for name, text in (("run", "#!/bin/sh\n"), ("note", "# no\n"), ("empty", "")):
        (tmp_path / name).write_text(text)
    post.allow_running({"_template": "https://example.com/t"}, tmp_path)
    assert not os.access(tmp_path / "run", os.X_OK)
    post.allow_running({"_template": "https://example.com/archive/t.ZIP"}, tmp_path)
    assert [p.name for p in tmp_path.iterdir() if os.access(p, os.X_OK)] == ["run"]


def test_origin_under_cruft_is_what_cruft_says():
    said = {"_template": "https://example.com/t", "_commit": "c0ffee"}
    assert post.find_origin(said) == ("https://example.com/t", "c0ffee", None)
    with pytest.raises(RuntimeError, match="commit it"):
        post.find_origin({"_template": "t"})


# The lock


@pytest.mark.parametrize("found", ["PATH", "UV"])
def test_lock_finds_uv(tmp_path, monkeypatch, found):
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text("#!/bin/sh\necho $1 > uv.lock\n")
    uv.chmod(0o755)
    monkeypatch.delenv("CD4ML_LOCK", raising=False)
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setenv(found, str(uv if found == "UV" else uv.parent))
    for _ in range(2):
        post.lock({}, tmp_path)
        assert (tmp_path / "uv.lock").read_text() == "lock\n"
        uv.unlink(missing_ok=True)  # the second time there is nothing to do


def test_lock_gives_up(tmp_path, monkeypatch):
    monkeypatch.setenv("CD4ML_LOCK", "0")
    with pytest.raises(RuntimeError, match="CD4ML_LOCK"):
        post.lock({}, tmp_path)
    monkeypatch.delenv("CD4ML_LOCK")
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(RuntimeError, match="not on PATH"):
        post.lock({}, tmp_path)
