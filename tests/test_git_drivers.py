"""What git does with notebooks and with dvc.lock, wherever their drivers are found."""

import json
import os

import pytest
from conftest import TOOLS
from projects import write_notebook

PLACES = ["nowhere", "in .venv", pytest.param("on PATH", marks=pytest.mark.slow)]


@pytest.fixture(params=PLACES)
def place(request, bare_tools):
    """Where nbdime, nbstripout and dvc are found: the PATH, and whether `.venv/bin` has them."""
    if missing := [name for name in ("nbdime", "nbstripout", "dvc") if not (TOOLS / name).exists()]:
        pytest.skip(f"not installed beside pytest: {missing}")
    path = f"{TOOLS}{os.pathsep}{bare_tools}" if request.param == "on PATH" else str(bare_tools)
    return path, request.param == "in .venv"


@pytest.fixture
def noted(project, git, place):
    """A project with a committed notebook, and a git that sees the tools of one place."""
    path, in_project = place
    note = write_notebook(project / "notebooks" / "note.ipynb", "x = 1")
    for setting in (("user.name", "Tester"), ("user.email", "tester@example.com")):
        git(project, "config", *setting)
    git(project, "add", ".")
    git(project, "commit", "--quiet", "--message", "Note")
    if in_project:
        (project / ".venv").mkdir()
        (project / ".venv" / "bin").symlink_to(TOOLS)

    def tooled(*arguments, cwd=project):
        return git(cwd, *arguments, PATH=path, PAGER="cat")

    tooled.real = in_project or str(TOOLS) in path
    return note, tooled


@pytest.mark.parametrize("tools", [True, False])
def test_first_commit_stays_clean(project, git, bare_tools, tools):
    for note in project.rglob("*.ipynb"):
        note.touch()
    path = f"{TOOLS}{os.pathsep}{bare_tools}" if tools else bare_tools
    assert git(project, "status", "--porcelain", PATH=path) == ""


def test_notebook_difference_is_shown(noted):
    note, git = noted
    write_notebook(note, "x = 2", output="seen")
    shown = git("diff", cwd=note.parent)
    assert "x = 1" in shown
    assert "x = 2" in shown
    assert ("nbdiff " in shown) == git.real
    assert ("seen" in shown) != git.real


def test_notebook_removal_is_shown(noted):
    note, git = noted
    note.unlink()
    git("add", "--all")
    assert "x = 1" in git("diff", "--cached")


def test_notebook_difference_is_shown_in_a_worktree(noted, project, tmp_path):
    _, git = noted
    tree = tmp_path / "a tree"
    git("worktree", "add", "--quiet", "-b", "side", tree)
    write_notebook(tree / "notebooks" / "note.ipynb", "x = 3")
    assert "x = 3" in git("diff", cwd=tree)


@pytest.mark.slow
def test_broken_notebook_is_shown_as_text(noted):
    note, git = noted
    note.write_text("no notebook\n")
    assert "+no notebook" in git("diff")


def test_notebook_is_committed_without_outputs(noted):
    note, git = noted
    write_notebook(note, "x = 1", output="seen")
    git("add", ".")
    assert (git("diff", "--cached", "--name-only") == "") == git.real
    write_notebook(note, "x = 2", output="seen")
    git("add", ".")
    assert ("seen" in git("show", ":notebooks/note.ipynb")) != git.real


def branch(git, ours, theirs):
    """Change a file in two ways on two branches, and merge them."""
    git("checkout", "--quiet", "-b", "theirs")
    theirs()
    git("commit", "--all", "--quiet", "--message", "Theirs")
    git("checkout", "--quiet", "-")
    ours()
    git("commit", "--all", "--quiet", "--message", "Ours")


def test_notebook_conflict_has_markers(noted, run, place, project):
    note, git = noted
    branch(git, lambda: write_notebook(note, "x = 2"), lambda: write_notebook(note, "x = 3"))
    merge = run("git", "merge", "theirs", cwd=project, check=False, PATH=place[0])
    assert merge.returncode == 1
    text = note.read_text()
    assert "<<<<<<<" in text
    assert "x = 2" in text
    assert "x = 3" in text
    if git.real:
        json.loads(text)
    assert "note.ipynb" in git("diff")
    assert git("diff", "--name-only", "--diff-filter=U") == "notebooks/note.ipynb"


def test_dvc_lock_is_merged_as_text(noted, run, place, project):
    _, git = noted
    lock = project / "dvc.lock"

    def write(first, last):
        middle = "".join(f"  stage{i}:\n    cmd: echo\n" for i in range(9))
        text = f"schema: '2.0'\nstages:\n  a:\n    cmd: {first}\n{middle}  z:\n    cmd: {last}\n"
        lock.write_text(text)
        git("add", "dvc.lock")

    write("one", "one")
    git("commit", "--quiet", "--message", "Lock")
    branch(git, lambda: write("two", "one"), lambda: write("one", "three"))
    git("merge", "--quiet", "--no-edit", "theirs")
    assert "cmd: two" in lock.read_text()
    assert "cmd: three" in lock.read_text()
    git("checkout", "--quiet", "theirs")
    write("four", "three")
    git("commit", "--quiet", "--message", "Four")
    merge = run("git", "merge", "main", cwd=project, check=False, PATH=place[0])
    assert merge.returncode == 1
    assert {"<<<<<<< ours", ">>>>>>> theirs"} <= set(lock.read_text().splitlines())


def test_nbdime_finds_nothing_to_set_up(project, run, git):
    run(TOOLS / "nbdime", "config-git", "--enable", cwd=project)
    assert git(project, "status", "--porcelain") == ""
