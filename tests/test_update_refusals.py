"""What an update refuses: one sentence, and nothing changed."""

import shutil
import sys
from pathlib import Path

import pytest
from conftest import TOOLS
from projects import ALONE, SLUG, commit, read, state, write, write_tool
from releases import VERB, outdated, refuse, set_state  # noqa: F401


def test_unknown_tag(project, update, git):
    done = refuse(project, update, git, "v9.9.9")
    assert "the template has no v9.9.9; its releases: v0.0.1, v1.0.0, v2.0.0, v3.0.0" in done.stderr


@pytest.mark.parametrize("words", [("--force",), ("v1.0.0", "v2.0.0")])
def test_wrong_words(project, update, git, words):
    assert "usage: " in refuse(project, update, git, *words).stderr


def test_project_file_that_cannot_be_read(project, update, git):
    write(project, {"pyproject.toml": "<<<<<<< ours\n"})
    commit(git, project)
    assert "pyproject.toml cannot be read" in refuse(project, update, git).stderr


@pytest.mark.parametrize("name", ["README.md", "new.md"])
def test_work_that_is_not_committed(project, update, git, name):
    with (project / name).open("a") as file:
        file.write("mine\n")
    assert name in refuse(project, update, git).stderr


@pytest.mark.parametrize("name", [".gitignore", ".git/info/exclude"])
def test_ignored_file_in_the_way(project, update, git, name):
    with (project / name).open("a") as file:
        file.write("/docs/new.md\n")
    git(project, "commit", "--all", "--allow-empty", "--quiet", "--message", "Ignore")
    write(project, {"docs/new.md": "mine and secret\n"})
    assert "docs/new.md is not in git" in refuse(project, update, git).stderr


def test_ignored_file_where_the_template_has_a_folder(project, update, git):
    with (project / ".gitignore").open("a") as file:
        file.write(f"/docs/{SLUG}\n")
    commit(git, project)
    write(project, {f"docs/{SLUG}": "mine and secret\n"})
    assert f"docs/{SLUG}/crew.md is not in git" in refuse(project, update, git).stderr


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/t.git", "/nowhere/t", "/nowhere/t.zip"])
def test_template_that_cannot_be_reached(project, update, git, address):
    set_state(git, project, template=address)
    done = refuse(project, update, git)
    assert f"cannot be fetched from {address}" in done.stderr
    assert ".cruft.json" in done.stderr


def test_commit_that_the_template_no_longer_has(project, update, git):
    set_state(git, project, commit="0123456789" * 4)
    assert "the template has no 0123456789" in refuse(project, update, git).stderr


@pytest.mark.parametrize("text", [None, "{}", "<<<<<<< ours\n", '{"commit": null}'])
def test_project_that_follows_nothing(project, update, git, text):
    write(project, {".cruft.json": text})
    commit(git, project, "Follow nothing")
    assert "cruft link" in refuse(project, update, git).stderr


def test_without_a_commit(project, update, git):
    shutil.rmtree(project / ".git")
    git(project, "init", "--quiet")
    refuse(project, update, git)


def test_without_packages(project, update, git, tmp_path):
    nowhere = {"UV_CACHE_DIR": tmp_path / "empty", "UV_OFFLINE": "1"}
    assert "cannot be rendered" in refuse(project, update, git, **nowhere).stderr


def test_answers_that_the_template_refuses(project, update, git):
    context = state(project)["context"]
    context["cookiecutter"]["author_email"] = "nobody"
    set_state(git, project, context=context)
    assert 'author_email "nobody" is not' in refuse(project, update, git).stderr


@pytest.mark.parametrize("moment", ["tool run", "cherry-pick"])
def test_interrupted(project, git, user, tmp_path, environment, moment):
    tool, real = ("uv", TOOLS / "uv") if moment == "tool run" else ("git", shutil.which("git"))
    folder = write_tool(
        tmp_path / "bin" / tool,
        f"""\
        "{real}" "$@"; code=$?
        case " $* " in *" {moment} "*) kill -INT 0; sleep 2;; esac
        exit $code
        """,
    )
    before, refs = read(project), git(project, "for-each-ref")
    command = (sys.executable, "-c", ALONE, *VERB)
    own = {"PATH": f"{folder}:{TOOLS}:{environment['PATH']}"}
    own |= {"UV": folder / "uv"} if tool == "uv" else {}
    assert user(*command, cwd=project, check=False, **own).returncode == 130
    assert read(project) == before
    assert git(project, "for-each-ref") == refs
    assert git(project, "status", "--porcelain") == ""
    assert not list((Path(environment["TMPDIR"])).glob("*/template"))
