"""Later releases of the template come into a project, and nothing of its owner's is lost."""

import json
import os
import re
import shutil

import pytest
from conftest import TOOLS
from projects import SLUG, codes, commit, edit, read, state, write, write_notebook, write_tool
from releases import GUIDE, LOGIN, outdated  # noqa: F401

CHANGED = {
    ".cruft.json": "M",
    "README.md": "M",
    "delivery/storage.json": "M",
    "docs/gone.md": "D",
    "docs/icon.png": "M",
    "docs/install.md": "R",
    "docs/logo.png": "M",
    "docs/manual.md": "R",
    "docs/new.md": "A",
    "docs/old.md": "D",
    "docs/people.md": "M",
    "docs/plan.md": "M",
    "docs/tool.sh": "M",
    "notebooks/note.ipynb": "M",
    "pyproject.toml": "M",
}


def test_everything_of_a_release_arrives_where_nothing_was_edited(
    project, update, git, releases, run
):
    refs = git(project, "for-each-ref")
    done = update(project, "v2.0.0")
    assert codes(git, project) == CHANGED
    assert git(project, "diff", "--name-only") == ""
    assert os.access(project / "docs/tool.sh", os.X_OK)
    assert (project / "docs/logo.png").read_bytes() == b"\x89PNG\0two"
    assert (project / "docs/people.md").read_text() == "by Data Team, Data Teams\n"
    assert {"New question: team=Data Teams", "New question: pace=slow"} <= set(
        done.stdout.splitlines()
    )
    kept = state(project)
    assert kept["context"]["cookiecutter"]["_storages"]["local"]["login"] == LOGIN
    assert LOGIN in (project / "README.md").read_text("utf-8")
    assert kept["commit"] == git(releases["path"], "rev-parse", "v2.0.0")
    assert (kept["checkout"], kept["template"]) == ("v2.0.0", str(releases["path"]))
    assert git(project, "for-each-ref") == refs
    commit(git, project, "Update")
    run(TOOLS / "cruft", "check", "--checkout", "v2.0.0", cwd=project)
    assert run(TOOLS / "cruft", "diff", "--exit-code", cwd=project).stdout == ""


def test_the_newest_release_comes_in_one_step_and_then_nothing(project, update, git):
    write(project, {"docs/people.md": "by Data Team, me\n"})
    commit(git, project)
    done = update(project, check=False)
    found = codes(git, project)
    assert found[f"docs/{SLUG}/crew.md"] == "UU", done.stdout
    assert "me\n" in (project / "docs" / SLUG / "crew.md").read_text()
    assert not (project / "docs/people.md").exists()
    answers = state(project)["context"]["cookiecutter"]
    assert (answers["squad"], answers["licence"]) == ("nobody", "closed")
    commit(git, project, "Update")
    before = git(project, "rev-parse", "HEAD")
    assert update(project).stdout == "There is no later release of the template.\n"
    assert git(project, "rev-parse", "HEAD") == before
    assert git(project, "status", "--porcelain") == ""


def test_the_readme_says_of_every_file_whose_it_is(bake):
    table = (bake() / "README.md").read_text("utf-8").split("| whose |")[1].split("\n\n")[0]
    names = [p.name for p in bake().iterdir() if not p.name.startswith((".", "LICENSE"))]
    assert sorted([*re.findall(r"`([\w.]+)/?`", table), "README.md"]) == sorted(names)


# Edits of the owner, in projects of every kind


def work(git, project):
    """What an owner may do to a project, and more of it at once than anybody does."""
    write(
        project,
        {
            "docs/plan.md": "one\nzwei\nthree\n",
            "docs/logo.png": b"\x89PNG\0mine",
            "docs/gone.md": "old\nand mine\n",
            "docs/guide.md": GUIDE.replace("figure 9 ", "my figure "),
            "docs/new.md": "mine\n",
            "docs/icon.png": None,
            "docs/setup.md": None,
            "src/promotion_ranker/mine.py": '"""Mine."""\n',
        },
    )
    write_notebook(project / "notebooks" / "note.ipynb", "x = 3")
    git(project, "mv", "docs/people.md", "PEOPLE.md")
    commit(git, project)


WORKED = {
    ".cruft.json": "M",
    "PEOPLE.md": "M",
    "README.md": "M",
    "delivery/storage.json": "M",
    "docs/gone.md": "UD",
    "docs/logo.png": "UU",
    "docs/manual.md": "R",
    "docs/new.md": "AA",
    "docs/old.md": "D",
    "docs/plan.md": "UU",
    "docs/tool.sh": "M",
    "notebooks/note.ipynb": "UU",
    "pyproject.toml": "M",
}


def as_it_is(git, project, folder):
    work(git, project)
    return project


def shallow(git, project, folder):
    work(git, project)
    git(folder, "clone", "--quiet", "--depth=1", project.as_uri(), "shallow")
    return folder / "shallow"


def never_committed(git, project, folder):
    shutil.rmtree(project / ".git")
    git(project, "init", "--quiet")
    git(project, "add", "docs/people.md")
    work(git, project)
    return project


def worktree(git, project, folder):
    work(git, project)
    git(project, "worktree", "add", "--quiet", "-b", "side", folder / "a tree")
    return folder / "a tree"


def subfolder(git, project, folder):
    shutil.rmtree(project / ".git")
    outer = folder / "all of it"
    git(folder, "init", "--quiet", outer)
    write(outer, {"docs/plan.md": "another\n", "README.md": "another\n"})
    project = project.rename(outer / "ünten")
    commit(git, outer, "Start")
    work(git, project)
    return project


SLOW = [pytest.param(place, marks=pytest.mark.slow) for place in (never_committed, worktree)]


@pytest.mark.parametrize("place", [as_it_is, shallow, subfolder, *SLOW])
def test_edits_are_merged_or_named_and_never_lost(project, update, git, run, tmp_path, place):
    project = place(git, project, tmp_path)
    before, refs = git(project, "rev-parse", "HEAD"), git(project, "for-each-ref")
    clean = read(project)
    done = update(project, "v2.0.0", check=False)
    assert done.returncode == 1, done.stderr
    assert codes(git, project) == WORKED
    assert (git(project, "rev-parse", "HEAD"), git(project, "for-each-ref")) == (before, refs)
    named = {line.split(": ")[1].split(" (")[0] for line in lines(done, "Needs you")}
    prefix = git(project, "rev-parse", "--show-prefix")
    assert named == {prefix + path for path, code in WORKED.items() if code in ("UD", "UU", "AA")}
    removed = {line.split(": ")[1] for line in lines(done, "Stays removed")}
    assert removed == {prefix + "docs/icon.png", prefix + "docs/install.md"}
    text = (project / "docs/plan.md").read_text()
    assert all(part in text for part in ("<<<<<<<", "zwei", "2\n", ">>>>>>>"))
    assert (project / "docs/logo.png").read_bytes() == b"\x89PNG\0mine"
    assert (project / "docs/gone.md").read_text() == "old\nand mine\n"
    manual = (project / "docs/manual.md").read_text()
    assert all(part in manual for part in ("my figure", "picture 2 "))
    assert (project / "PEOPLE.md").read_text() == "by Data Team, Data Teams\n"
    assert not list(project.rglob("*.rej"))
    undo = re.search(r"^Undo: (git [^.]+)\.", done.stdout, re.MULTILINE)[1]
    assert f"`{undo}`\nundoes it all" in (project / "README.md").read_text("utf-8")
    run(*undo.split(), cwd=project)
    assert read(project) == clean
    assert git(project, "status", "--porcelain") == ""


def lines(done, start):
    return [line for line in done.stdout.splitlines() if line.startswith(start)]


def test_notebook_conflict_stays_a_notebook(project, update, git):
    (project / ".venv").mkdir()
    (project / ".venv" / "bin").symlink_to(TOOLS)
    write_notebook(project / "notebooks" / "note.ipynb", "x = 3")
    commit(git, project)
    done = update(project, "v2.0.0", check=False)
    assert done.returncode == 1
    assert codes(git, project)["notebooks/note.ipynb"] == "UU"
    text = (project / "notebooks" / "note.ipynb").read_text()
    json.loads(text)
    assert all(part in text for part in ("<<<<<<<", "x = 2", "x = 3"))


def test_a_conflict_that_was_mended_does_not_trouble_the_next_update(
    project, update, git, tmp_path
):
    write(project, {"docs/plan.md": "one\nzwei\nthree\n"})
    commit(git, project)
    update(project, "v2.0.0", check=False)
    write(project, {"docs/plan.md": "one\nzwei, 2\nthree\n"})
    commit(git, project, "Update")
    git(tmp_path, "clone", "--quiet", project, "fresh")
    done = update(tmp_path / "fresh", check=False)
    assert done.returncode == 1
    assert codes(git, tmp_path / "fresh")["docs/plan.md"] == "UU"
    assert [code for code in codes(git, tmp_path / "fresh").values() if "U" in code] == ["UU"]
    assert not list((tmp_path / "fresh").rglob("*.rej"))


def test_files_that_the_owner_keeps_for_himself_are_left_alone(project, update, git):
    with (project / "pyproject.toml").open("a") as file:
        file.write('\n[tool.cruft]\nskip = ["docs/*.png", "/docs/plan.md", "notebooks", "../*"]\n')
    commit(git, project)
    update(project, "v2.0.0")
    spared = {"docs/icon.png", "docs/logo.png", "docs/plan.md", "notebooks/note.ipynb"}
    assert set(codes(git, project)) == CHANGED.keys() - spared
    assert "skip" not in state(project)


# The lock file


@pytest.fixture
def uv(tmp_path, user):
    """A uv whose `lock` takes no network and leaves a trace."""
    script = f"""\
    [ "$1" = lock ] || exec "{TOOLS / "uv"}" "$@"
    [ -z "$BROKEN" ] || {{ echo "error: no network" >&2; exit 2; }}
    cat pyproject.toml > uv.lock
    """
    return str(write_tool(tmp_path / "bin" / "uv", script) / "uv")


def test_lock_follows_the_dependencies(project, update, git, uv):
    write(project, {"uv.lock": "old\n"})
    commit(git, project)
    update(project, "v2.0.0", UV=uv, UV_FROZEN="1")
    assert (project / "uv.lock").read_bytes() == (project / "pyproject.toml").read_bytes()
    assert codes(git, project) == CHANGED | {"uv.lock": "M"}
    commit(git, project, "Update")
    write(project, {"uv.lock": "kept\n"})
    commit(git, project)
    update(project, UV=uv)
    assert (project / "uv.lock").read_text() == "kept\n"


def test_lock_that_cannot_be_made_is_named(project, update, git, uv):
    write(project, {"uv.lock": "old\n"})
    commit(git, project)
    done = update(project, "v2.0.0", UV=uv, BROKEN="1", check=False)
    assert done.returncode == 1
    assert "Needs you: uv.lock (`uv lock` failed: error: no network)" in done.stdout.splitlines()
    assert (project / "uv.lock").read_text() == "old\n"


def test_lock_waits_for_dependencies_in_conflict(project, update, git, uv):
    write(project, {"uv.lock": "old\n"})
    edit(project / "pyproject.toml", '"tqdm>=4.67,<5"', '"tqdm>=4.60,<5"')
    commit(git, project)
    done = update(project, "v2.0.0", UV=uv, check=False)
    assert [line.split(" ")[2] for line in lines(done, "Needs you")] == [
        "pyproject.toml",
        "uv.lock",
    ]
    assert (project / "uv.lock").read_text() == "old\n"
