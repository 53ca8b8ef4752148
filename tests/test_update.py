"""Later releases of the template come into a project, and nothing of its owner's is lost."""

import importlib
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, TOOLS, copy
from forges import serving
from test_delivery_providers import FORGES, GITHUB, SECRET
from test_generation import ALONE, SLUG, read, state, write_notebook, write_tool

FOLDER = "{{cookiecutter.project_slug}}"
VERB = (sys.executable, "-B", "-m", "delivery", "template-update")
GUIDE = "".join(f"Step {n}: look at figure {n} and go on.\n" for n in range(1, 21))


# Releases of the template, made of the tree as it is


def edit(path, old, new):
    """Replace text in a file, which must be there."""
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def write(folder, files):
    """Write text and bytes by their paths; None removes one."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.unlink()
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content, "utf-8")


def ask_more(stage, question, default, prompt):
    """Add a question to the template."""
    path = stage / "cookiecutter.json"
    table = json.loads(path.read_text("utf-8")) | {question: default}
    table["__prompts__"][question] = prompt
    path.write_text(json.dumps(table, indent=2, ensure_ascii=False) + "\n", "utf-8")


def first(stage, project):
    """v1.0.0: the template as it is, and files on which everything can happen."""
    write(
        project,
        {
            "docs/guide.md": GUIDE,
            "docs/setup.md": GUIDE.replace("Step", "Install"),
            "docs/gone.md": "old\n",
            "docs/old.md": "older\n",
            "docs/plan.md": "one\ntwo\nthree\n",
            "docs/logo.png": b"\x89PNG\0one",
            "docs/icon.png": b"\x89PNG\0uno",
            "docs/tool.sh": "#!/bin/sh\necho hello\n",
            "docs/people.md": "by {{ cookiecutter.author_name }}\n",
        },
    )
    write_notebook(project / "notebooks" / "note.ipynb", "x = 1")


def second(stage, project):
    """v2.0.0: changed, added, renamed and removed files, a mode, and two questions more."""
    write(
        project,
        {
            "docs/guide.md": None,
            "docs/manual.md": GUIDE.replace("figure 2 ", "picture 2 "),
            "docs/setup.md": None,
            "docs/install.md": GUIDE.replace("Step", "Install"),
            "docs/gone.md": None,
            "docs/old.md": None,
            "docs/plan.md": "one\n2\nthree\n",
            "docs/new.md": "new\n",
            "docs/logo.png": b"\x89PNG\0two",
            "docs/icon.png": b"\x89PNG\0due",
            "docs/people.md": "by {{ cookiecutter.author_name }}, {{ cookiecutter.team }}\n",
        },
    )
    (project / "docs/tool.sh").chmod(0o755)
    write_notebook(project / "notebooks" / "note.ipynb", "x = 2")
    edit(project / "pyproject.toml", '"tqdm>=4.67,<5"', '"tqdm>=4.66,<5"')
    ask_more(stage, "team", "{{ cookiecutter.author_name }}s", "Team")
    ask_more(stage, "pace", ["slow", "fast"], {"__prompt__": "Pace", "slow": "S", "fast": "F"})


def third(stage, project):
    """v3.0.0: a question renamed, two merged, an answer replaced, a file moved and rewritten."""
    table = json.loads((stage / "cookiecutter.json").read_text("utf-8"))
    for question in ("team", "pace"):
        del table[question], table["__prompts__"][question]
    table |= {"squad": "nobody", "licence": ["closed", "open"]}
    table["__prompts__"] |= {"squad": "Squad", "licence": "Licence"}
    table["license"].remove("MIT")
    (stage / "cookiecutter.json").write_text(json.dumps(table, indent=2) + "\n")
    write(
        project,
        {
            "docs/plan.md": "one\nTWO\nthree\n",
            "docs/people.md": None,
            f"docs/{FOLDER}/crew.md": "{{ cookiecutter.squad }}, all\nand\nmore\n",
        },
    )
    migration = {
        "rename": {"team": "squad"},
        "map": [
            {"if": {"license": "MIT", "pace": "slow"}, "then": MAPPED},
            {"if": {"license": "LicenseRef-Proprietary", "pace": "slow"}, "then": KEPT},
        ],
        "move": {"docs/people.md": "docs/{project_slug}/crew.md"},
    }
    write(stage, {"migrations.json": json.dumps({"v3.0.0": migration})})


MAPPED = {"license": "Apache-2.0", "licence": "open"}
KEPT = {"license": "LicenseRef-Proprietary", "licence": "closed"}


def broken(stage, project):
    """A version that forgets an answer."""
    table = json.loads((stage / "cookiecutter.json").read_text("utf-8"))
    table["license"].remove("LicenseRef-Proprietary")
    (stage / "cookiecutter.json").write_text(json.dumps(table, indent=2) + "\n")


@pytest.fixture(scope="session")
def releases(scratch, template, git):
    """A remote with releases, a checkout of it, and a configuration for `gh:`."""
    stage = scratch / "stage"
    git(scratch, "clone", "--quiet", template, stage)
    makers = {"v1.0.0": first, "v2.0.0": second, "broken": broken, "v3.0.0": third}
    for tag, maker in makers.items():
        if tag == "v3.0.0":
            git(stage, "checkout", "--quiet", "-B", "main", "v2.0.0")
        maker(stage, stage / FOLDER)
        git(stage, "add", "--all")
        git(stage, "commit", "--quiet", "--message", tag)
        git(stage, "tag", tag)
    bare = scratch / "releases" / "org" / "cd4ml-template.git"
    git(scratch, "clone", "--quiet", "--bare", stage, bare)
    home = scratch / "releases.json"
    folders = {"cookiecutters_dir": str(scratch / "cc"), "replay_dir": str(scratch / "rp")}
    abbreviations = {"gh": f"{bare.parents[1].as_uri()}/{{0}}.git"}
    home.write_text(json.dumps({"abbreviations": abbreviations, **folders}))
    return {"url": bare.as_uri(), "path": bare, "config": home, "stage": stage}


@pytest.fixture(scope="session")
def original(render, releases, scratch):
    """A project of v1.0.0; copy it."""
    options = ("--config-file", releases["config"], "--checkout", "v1.0.0")
    render(scratch / "original", *options, source="gh:org/cd4ml-template")
    return scratch / "original" / SLUG


@pytest.fixture
def project(original, tmp_path):
    return copy(original, tmp_path / SLUG)


@pytest.fixture(scope="session")
def update(user):
    """Run the verb in a project."""

    def update(project, *arguments, check=True, **variables):
        return user(*VERB, *arguments, cwd=project, check=check, **variables)

    return update


def commit(git, project, message="Mine"):
    git(project, "add", "--all", ".")
    git(project, "commit", "--quiet", "--no-verify", "--message", message)


def codes(git, project):
    """What git says of each path: two letters; renames under the new name."""
    lines = git(project, "-c", "status.relativePaths=true", "status", "--short").splitlines()
    # git() strips the very first letter if it is a blank
    pairs = (re.fullmatch(r" ?(\S ?|.\S) (.+)", line) for line in lines)
    return {pair[2].split(" -> ")[-1]: pair[1].strip() for pair in pairs}


CHANGED = {
    ".cruft.json": "M",
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
    assert kept["commit"] == git(releases["path"], "rev-parse", "v2.0.0")
    assert (kept["checkout"], kept["template"]) == ("v2.0.0", str(releases["path"]))
    assert git(project, "for-each-ref") == refs
    commit(git, project, "Update")
    run(TOOLS / "cruft", "check", "--checkout", "v2.0.0", cwd=project)
    assert run(TOOLS / "cruft", "diff", "--exit-code", cwd=project).stdout == ""


# Migrations, without rendering


def load(name):
    """A module of the rendered project, as it lies in the template."""
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # it would be rendered
    sys.path.insert(0, str(ROOT / FOLDER))
    try:
        return importlib.import_module(f"delivery.{name}")
    finally:
        sys.path.pop(0)
        sys.dont_write_bytecode = writes


def test_the_documented_migration_does_what_is_said_of_it():
    text = re.search(r"```json\n(.+?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)[1]
    (migration,) = json.loads(text).values()
    answers = {"project_slug": "x", "deploy_to": "a host", "colour": "red"}
    answers |= {"docker": "yes", "kubernetes": "no"}
    after, moves = load("template").migrate(answers, [migration])
    assert after == {"project_slug": "x", "deploy": "compose"}
    assert ("src/x/a.py", "src/x/b.py") in moves


def test_migrations_swap_values_and_follow_each_other():
    swap = [{"if": {"a": "1"}, "then": {"a": "2"}}, {"if": {"a": "2"}, "then": {"a": "1"}}]
    migrations = [{"map": swap}, {"rename": {"a": "b"}}, {"rename": {"b": "c", "x": "y"}}]
    assert load("template").migrate({"a": "1", "z": "0"}, migrations) == ({"c": "2", "z": "0"}, [])


def test_migrations_of_the_template_can_be_read():
    questions = json.loads((ROOT / "cookiecutter.json").read_text("utf-8"))
    for tag, migration in json.loads((ROOT / "migrations.json").read_text("utf-8")).items():
        assert load("template").RELEASE.fullmatch(tag)
        assert set(migration) <= {"rename", "map", "move"}
        assert all(set(row) == {"if", "then"} for row in migration.get("map", []))
        gone = {old for old, new in migration.get("rename", {}).items() if old != new}
        assert gone.isdisjoint(questions), "a later entry may bring a name back: then weaken this"


def test_releases_are_ordered_by_number(git, tmp_path):
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "x")
    for tag in ("v0.10.0", "v0.9.1", "v0.9.1-rc1", "newest", "v1", "v0.9.10"):
        git(tmp_path, "tag", tag)
    assert load("template").list_releases(tmp_path) == ["v0.9.1", "v0.9.10", "v0.10.0"]


def test_project_from_after_the_newest_release_is_not_taken_back(project, update, git, releases):
    stage = releases["stage"]
    git(stage, "checkout", "--quiet", "--detach", "v3.0.0")
    git(stage, "commit", "--quiet", "--allow-empty", "--message", "Later")
    set_state(git, project, template=str(stage), commit=git(stage, "rev-parse", "HEAD"))
    assert update(project).stdout == "There is no later release of the template.\n"


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
def test_edits_are_merged_or_named_and_never_lost(project, update, git, tmp_path, place):
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
    git(project, "reset", "--hard", "--quiet")  # the documented undo
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


def test_files_that_the_owner_keeps_for_himself_are_left_alone(project, update, git):
    with (project / "pyproject.toml").open("a") as file:
        file.write('\n[tool.cruft]\nskip = ["docs/*.png", "/docs/plan.md", "notebooks", "../*"]\n')
    commit(git, project)
    update(project, "v2.0.0")
    spared = {"docs/icon.png", "docs/logo.png", "docs/plan.md", "notebooks/note.ipynb"}
    assert set(codes(git, project)) == CHANGED.keys() - spared
    assert "skip" not in state(project)


# Releases, questions, migrations


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


def test_answers_follow_their_questions(render, releases, update, git, tmp_path):
    """Text that could be a template, a renamed question, two merged, a choice replaced."""
    hostile = '"{{ 7*7 }}" }} {# é 👩‍🔬 \\ \'\u2028 $HOME'
    quoted = "{% raw %}" + hostile + "{% endraw %}"
    options = ("--config-file", releases["config"], "--checkout", "v2.0.0")
    answers = {"team": quoted, "license": "MIT", "description": f" two\nlines {quoted}"}
    render(tmp_path, *options, source="gh:org/cd4ml-template", **answers)
    project = tmp_path / SLUG
    update(project)
    kept = state(project)["context"]["cookiecutter"]
    assert kept["squad"] == hostile
    assert kept["description"] == f" two\nlines {hostile}"
    assert "team" not in kept
    assert "pace" not in kept
    assert (kept["license"], kept["licence"]) == ("Apache-2.0", "open")
    assert (project / "docs" / SLUG / "crew.md").read_text() == f"{hostile}, all\nand\nmore\n"
    assert codes(git, project)[f"docs/{SLUG}/crew.md"] in ("R", "A")


def test_a_release_that_forgets_an_answer_is_refused(project, update, git):
    done = refuse(project, update, git, "broken")
    assert "license=LicenseRef-Proprietary" in done.stderr


def test_going_back_is_refused_where_answers_would_go(project, update, git):
    before = read(project)
    update(project)
    commit(git, project, "Update")
    assert "squad=nobody" in refuse(project, update, git, "v1.0.0").stderr
    git(project, "revert", "--no-edit", "HEAD")
    assert read(project) == before


@pytest.fixture
def type_in(project, user, environment):
    """Update to v2.0.0 with somebody at the terminal."""

    def type_in(text):
        main, side = pty.openpty()
        os.write(main, text)
        variables = environment | {k: str(v) for k, v in user.keywords.items() if v}
        done = subprocess.run(
            (*VERB, "v2.0.0"),
            cwd=project,
            env=variables,
            stdin=side,
            capture_output=True,
            text=True,
        )
        os.close(main)
        os.close(side)
        assert done.returncode == 0, done.stderr
        return done

    return type_in


def test_new_questions_are_left_at_their_default_by_return_or_end_of_input(project, type_in):
    type_in(b"\n\x04")
    kept = state(project)["context"]["cookiecutter"]
    assert (kept["team"], kept["pace"]) == ("Data Teams", "slow")


def test_new_questions_are_put_to_a_person(project, type_in):
    done = type_in(b"The A-Team\nsnail\nfast\n")
    assert "Team [Data Teams]: " in done.stdout
    assert done.stdout.count("Pace (slow/fast) [slow]: ") == 2
    kept = state(project)["context"]["cookiecutter"]
    assert (kept["team"], kept["pace"]) == ("The A-Team", "fast")
    assert (project / "docs/people.md").read_text() == "by Data Team, The A-Team\n"


# Projects made in every way, and cruft as the second one


def rendered(project):
    """What a project holds apart from where it came from."""
    return {path: what for path, what in read(project).items() if path != ".cruft.json"}


@pytest.fixture(scope="session")
def renewed(render, releases, scratch):
    """A new project of v2.0.0."""
    options = ("--config-file", releases["config"], "--checkout", "v2.0.0")
    render(scratch / "renewed", *options, source="gh:org/cd4ml-template")
    return scratch / "renewed" / SLUG


def by_address(render, run, git, releases, folder):
    render(folder, "--checkout", "v1.0.0", source=releases["url"])


def by_folder(render, run, git, releases, folder):
    git(folder, "clone", "--quiet", releases["path"], folder.parent / "mine")
    git(folder.parent / "mine", "checkout", "--quiet", "v1.0.0")
    render(folder, source=folder.parent / "mine")


def by_archive(render, run, git, releases, folder):
    archive = folder.parent / "t.zip"
    git(releases["stage"], "archive", "--prefix=cd4ml-template/", "-o", archive, "v1.0.0")
    render(folder, source="../t.zip", env={"PWD": str(folder)})


def by_cruft(render, run, git, releases, folder):
    create = (TOOLS / "cruft", "create", releases["url"], "--no-input", "--checkout", "v1.0.0")
    run(*create, cwd=folder)


@pytest.mark.parametrize("make", [by_address, by_folder, by_archive, by_cruft])
def test_projects_made_in_any_way_are_updated(
    render, run, git, update, releases, renewed, tmp_path, make
):
    folder = tmp_path / "out"
    folder.mkdir()
    make(render, run, git, releases, folder)
    project = folder / SLUG
    if make is by_archive:  # it knows its commit, but not where the template lives
        assert state(project)["template"] == str(tmp_path / "t.zip")
        assert "cannot be fetched" in refuse(project, update, git, "v2.0.0").stderr
    address = releases["stage"] if make is by_folder else releases["path"]
    set_state(git, project, template=str(address))
    update(project, "v2.0.0")
    assert rendered(project) == rendered(renewed)
    commit(git, project, "Update")
    assert run(TOOLS / "cruft", "diff", "--exit-code", cwd=project).stdout == ""


def test_scripts_of_an_archive_can_be_run(render, git, releases, renewed, tmp_path):
    archive = tmp_path / "t.zip"
    git(releases["stage"], "archive", "--prefix=cd4ml-template/", "-o", archive, "v2.0.0")
    render(tmp_path / "out", source=archive)
    assert rendered(tmp_path / "out" / SLUG) == rendered(renewed)
    assert state(tmp_path / "out" / SLUG)["commit"] == state(renewed)["commit"]


@pytest.fixture(params=["2.16.0", pytest.param("2.15.0", marks=pytest.mark.slow)])
def cruft(request, user):
    """Run a version of cruft, each in an environment of its own."""
    tool = (TOOLS / "uv", "tool", "run", "--from", f"cruft=={request.param}", "cruft")
    command = (TOOLS / "cruft",) if request.param == "2.16.0" else tool

    def cruft(project, *arguments, **options):
        return user(*command, *arguments, cwd=project, **options)

    return cruft


def test_cruft_is_the_second_way(project, update, git, cruft, renewed):
    cruft(project, "check", "--checkout", "v1.0.0")
    assert cruft(project, "check", "--checkout", "v2.0.0", check=False).returncode == 1
    assert cruft(project, "diff", "--exit-code").stdout == ""
    cruft(project, "update", "--skip-apply-ask", "--checkout", "v2.0.0")
    assert not list(project.rglob("*.rej"))
    assert rendered(project) == rendered(renewed)
    commit(git, project, "Update by cruft")
    assert cruft(project, "diff", "--exit-code").stdout == ""
    assert update(project, "v2.0.0").stdout == "There is no later release of the template.\n"
    update(project)
    commit(git, project, "Update by make")
    cruft(project, "check")
    assert cruft(project, "diff", "--exit-code").stdout == ""


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


# Refusals: one sentence, and nothing changed


def refuse(project, update, git, *arguments, **variables):
    """Expect a refusal that leaves everything as it is."""
    before, refs = read(project), git(project, "for-each-ref")
    found = git(project, "status", "--porcelain")
    done = update(project, *arguments, check=False, **variables)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("ERROR: ")
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert read(project) == before
    assert git(project, "for-each-ref") == refs
    assert git(project, "status", "--porcelain") == found
    return done


def set_state(git, project, **facts):
    """Change what the project knows of its template."""
    text = json.dumps(state(project) | facts)
    (project / ".cruft.json").write_text(text)
    commit(git, project, "Follow another")


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


# The scheduled job, against a remote and a provider on loopback

STUB = """
from pathlib import Path
def reproduce(arguments):
    Path("dvc.lock").write_text("made anew")
    return int(Path("broken").exists())
def report(arguments):
    Path("reports/delivery").mkdir(parents=True)
    Path("reports/delivery/report.md").write_text("No metric moved.")
    return 0
VERBS |= {"reproduce": "__main__.reproduce", "report": "__main__.report"}
"""


@pytest.fixture
def remote(project, git, tmp_path):
    """The project's own remote; its pipeline is a stand-in."""
    main = project / "delivery" / "__main__.py"
    edit(main, "\n\ndef main(", f"\n{STUB}\n\ndef main(")
    commit(git, project, "Reproduce fast")
    git(tmp_path, "init", "--quiet", "--bare", "remote.git")
    git(project, "remote", "add", "origin", tmp_path / "remote.git")
    git(project, "push", "--quiet", "origin", "HEAD:refs/heads/main")
    return tmp_path / "remote.git"


@pytest.fixture
def job(update, remote, tmp_path):
    """Run the scheduled job in a project, as GitHub does."""
    tools = write_tool(tmp_path / "tools" / "make", "exit 0\n")
    (tmp_path / "event.json").write_text('{"schedule": "x"}')
    with serving(FORGES["github"]()) as forge:
        variables = GITHUB | {
            "GITHUB_API_URL": forge.url,
            "GITHUB_EVENT_NAME": "schedule",
            "GITHUB_EVENT_PATH": tmp_path / "event.json",
            "GITHUB_TOKEN": SECRET,
            "PATH": f"{tools}{os.pathsep}{TOOLS}{os.pathsep}{os.environ['PATH']}",
            "no_proxy": "*",
        }

        def job(project, **more):
            return update(project, "--pull-request", check=False, **variables | more)

        job.forge = forge
        yield job


BRANCH = "template-update/v3.0.0"


@pytest.mark.parametrize("provider", FORGES)
def test_every_provider_has_the_scheduled_job(bake, provider):
    project = bake(ci=provider)
    texts = [path.read_text() for path in project.rglob("*.yml") if ".git" not in path.parts]
    (text,) = (text for text in texts if "-m delivery template-update --pull-request" in text)
    assert "schedule" in text


def test_scheduled_job_opens_a_pull_request_once(project, git, remote, job, tmp_path):
    before = git(remote, "rev-parse", "main")
    git(tmp_path, "clone", "--quiet", "--depth=1", "--branch=main", remote.as_uri(), "runner")
    runner = tmp_path / "runner"
    git(runner, "checkout", "--quiet", "--detach")
    done = job(runner)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "pull/1"
    (pull,) = job.forge.pulls
    title = "Update the template from v1.0.0 to v3.0.0"
    assert (pull["title"], pull["head"], pull["draft"]) == (title, BRANCH, False)
    assert {"- New question: squad=nobody", "No metric moved."} <= set(pull["body"].splitlines())
    assert git(remote, "log", "--format=%s", f"main..{BRANCH}") == f"Reproduce\n{title}"
    assert git(remote, "show", f"{BRANCH}:dvc.lock") == "made anew"
    assert git(remote, "rev-parse", "main") == before
    git(tmp_path, "clone", "--quiet", "--branch=main", remote.as_uri(), "next week")
    done = job(tmp_path / "next week")
    assert done.stdout == f"{BRANCH} waits to be merged or removed.\n"
    git(remote, "update-ref", "refs/heads/main", BRANCH)
    git(remote, "update-ref", "-d", f"refs/heads/{BRANCH}")
    git(tmp_path, "clone", "--quiet", "--branch=main", remote.as_uri(), "merged")
    done = job(tmp_path / "merged")
    assert (done.returncode, done.stdout) == (0, "There is no later release of the template.\n")
    assert len(job.forge.pulls) == 1


def test_scheduled_job_opens_a_draft_with_the_list_of_conflicts(project, git, remote, job):
    write(project, {"docs/plan.md": "one\nzwei\nthree\n"})
    commit(git, project)
    assert job(project).returncode == 0
    (pull,) = job.forge.pulls
    assert pull["draft"]
    assert "- Needs you: docs/plan.md (changed here and by the template)" in pull["body"]
    assert "<<<<<<<" in git(remote, "show", f"{BRANCH}:docs/plan.md")
    assert "No metric moved" not in pull["body"]


def test_scheduled_job_opens_a_draft_when_the_pipeline_breaks(project, git, remote, job):
    write(project, {"broken": ""})
    commit(git, project)
    assert job(project).returncode == 0
    (pull,) = job.forge.pulls
    assert pull["draft"]
    assert "- Needs you: `delivery reproduce` fails" in pull["body"]


def test_scheduled_job_that_may_not_push_opens_an_issue(project, git, remote, job):
    write_tool(remote / "hooks" / "pre-receive", "echo no workflows for you >&2; exit 1\n")
    for _ in range(2):
        assert job(project).returncode == 0
        git(project, "checkout", "--quiet", "main")
    (issue,) = job.forge.issues
    assert "no workflows for you" in issue["body"]
    assert job.forge.pulls == []
    assert git(remote, "for-each-ref", "--format=%(refname)") == "refs/heads/main"


def test_scheduled_job_fails_where_the_template_cannot_be_reached(project, git, remote, job):
    set_state(git, project, template="http://127.0.0.1:9/t.git")
    assert job(project).returncode == 2
    assert git(remote, "for-each-ref", "--format=%(refname)") == "refs/heads/main"
    assert job.forge.calls == []
    assert git(project, "symbolic-ref", "--short", "HEAD") == "main"


# A whole life


def grow(git, project, user):
    """Ten things that owners do."""
    edit(project / "params.yaml", "resamples: 500", "resamples: 100")
    edit(project / "README.md", "## The commands", "## Who to ask\n\nAnn.\n\n## The commands")
    (project / "notebooks/explore.ipynb").unlink()
    package = project / "src" / SLUG
    (package / "mine.py").write_text('"""Mine."""\n\nANSWER = 42\n')
    (package / "tests/test_mine.py").write_text(
        "from ..mine import ANSWER\n\n\ndef test_mine():\n    assert ANSWER == 42\n"
    )
    edit(project / "Makefile", "\nfix: ##", "\nmine: ## my own\n\t@echo mine\n\nfix: ##")
    edit(project / "pyproject.toml", '    "prek', '    "tabulate>=0.9,<1",\n    "prek')
    edit(project / ".gitignore", ".venv/\n", ".venv/\n/scratch/\n")
    write(project, {"scratch/note.txt": "ignored\n", "docs/mine.md": "mine\n"})
    git(project, "mv", "AGENTS.md", "docs/AGENTS.md")
    with (package / "evaluate.py").open("a") as file:
        file.write("\n# reviewed by Ann\n")
    user("uv", "lock", "--quiet", cwd=project)
    user("make", "setup", "reproduce", cwd=project)
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--no-verify", "--message", "Ten things")


def publish(git, stage):
    """A release that touches the same files in other places."""
    project = stage / FOLDER
    git(stage, "tag", "v1.0.0")
    edit(project / "Makefile", "## lint, types and tests", "## lint, types, tests")
    edit(
        project / "README.md",
        "# {{ cookiecutter.__title }}\n",
        "# The {{ cookiecutter.__title }}\n",
    )
    edit(project / "params.yaml", "evaluate:\n", "# how sure we are\nevaluate:\n")
    edit(project / "pyproject.toml", '"tqdm>=4.67,<5"', '"tqdm>=4.66,<5"')
    edit(project / "AGENTS.md", "# For coding agents", "# For coding agents and people")
    edit(project / "notebooks/explore.ipynb", '"source": [', '"source": [\n    "# hello\\n",')
    evaluate = project / "src" / FOLDER / "evaluate.py"
    edit(evaluate, '"""Stage evaluate: judge', '"""Stage evaluate: weigh')
    write(project, {"data/CHANGES.md": "since v2\n"})
    git(stage, "add", "--all")
    git(stage, "commit", "--quiet", "--message", "v2")
    git(stage, "tag", "v2.0.0")


@pytest.mark.slow
@pytest.mark.xdist_group("project")
def test_a_project_in_use_is_updated_checked_and_reproduced(living, template, user, git, tmp_path):
    project, stage = copy(living, tmp_path / "promotion_ranker"), tmp_path / "stage"
    shutil.copytree(living.parent / f"{SLUG}-storage", tmp_path / f"{SLUG}-storage")
    git(tmp_path, "clone", "--quiet", template, stage)
    publish(git, stage)
    set_state(git, project, template=str(stage))
    grow(git, project, user)
    before = read_tracked(git, project)
    user("make", "template-update", cwd=project)
    edited = {"Makefile", "README.md", "docs/AGENTS.md", "params.yaml", "pyproject.toml"}
    edited |= {"src/promotion_ranker/evaluate.py"}
    more = {".cruft.json": "M", "data/CHANGES.md": "A", "uv.lock": "M"}
    assert codes(git, project) == dict.fromkeys(edited, "M") | more
    for path in edited:
        old, new = (set(text.split("\n")) for text in (before[path], (project / path).read_text()))
        assert (len(old - new), len(new - old)) in {(1, 1), (0, 1)}, path
    assert "tabulate" in (project / "uv.lock").read_text()
    assert (project / "scratch/note.txt").read_text() == "ignored\n"
    user("make", "setup", "check", cwd=project)
    said = user("make", "reproduce", cwd=project).stdout
    assert re.findall(r"Running stage '(\w+)'", said) == ["train", "evaluate", "report"]
    assert (project / "reports/metrics.json").read_text() == before["reports/metrics.json"]
    git(project, "reset", "--quiet", "--hard")
    assert read_tracked(git, project) == before


def read_tracked(git, project):
    """The text of each file in git."""
    names = git(project, "ls-files", "-z").split("\0")[:-1]
    return {name: (project / name).read_bytes().decode("utf-8", "replace") for name in names}
