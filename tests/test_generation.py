"""Real renders by cookiecutter and cruft, on all sorts of machines, and what git and DVC see."""

import json
import os
import shutil
import sys
import textwrap
from pathlib import Path

import pytest
from conftest import TOOLS
from test_questions import CHOICES

SLUG = "promotion_ranker"
PARENT = "Next: cd promotion_ranker && make setup"


def read(project):
    """Every file of a project but those of git, with its bytes and whether it can be run."""
    files = [p for p in project.rglob("*") if p.is_file() and ".git" not in p.parts]
    return {str(p.relative_to(project)): (p.read_bytes(), os.access(p, os.X_OK)) for p in files}


def describe(git, project):
    """The state that a finished generation leaves: branch, number of commits, changes."""
    commits = git(project, "rev-list", "--count", "HEAD")
    branch = git(project, "symbolic-ref", "--short", "HEAD")
    return branch, int(commits), git(project, "status", "--porcelain")


DONE = ("main", 1, "")


def state(project):
    return json.loads((project / ".cruft.json").read_text("utf-8"))


def write_tool(path, text):
    """Put a shell script at a path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + textwrap.dedent(text))
    path.chmod(0o755)
    return path.parent


@pytest.fixture(scope="session")
def bare_tools(scratch):
    """A PATH with git and the shell, and nothing else that the project uses."""
    folder = scratch / "bare tools"
    folder.mkdir()
    for name in ("git", "sh", "cat"):
        (folder / name).symlink_to(shutil.which(name))
    return folder


@pytest.fixture(scope="session")
def remote(scratch, template, git):
    """The published template: its address, and a configuration that makes `gh:` point at it."""
    bare = scratch / "remotes" / "org" / "cd4ml-template.git"
    git(scratch, "clone", "--quiet", "--bare", template, bare)
    home = scratch / "cookiecutter.json"
    home.write_text(
        json.dumps(
            {
                "abbreviations": {"gh": f"{bare.parents[1].as_uri()}/{{0}}.git"},
                "cookiecutters_dir": str(scratch / "cookiecutters"),
                "replay_dir": str(scratch / "replay"),
            }
        )
    )
    return {"url": bare.as_uri(), "path": bare, "config": home}


@pytest.fixture
def clone(render, remote, tmp_path):
    """A project generated from the published template."""
    render(tmp_path, "--config-file", remote["config"], source="gh:org/cd4ml-template")
    return tmp_path / SLUG


# One result, whatever the command


def test_default_generation_is_finished(bake, git, template):
    project = bake()
    assert describe(git, project) == DONE
    revision = git(template, "rev-parse", "HEAD")
    subject, author = git(project, "log", "--format=%s%n%an <%ae>").split("\n")
    assert subject == f"Start from cd4ml-template {revision[:7]}"
    assert author == "Data Team <data@example.com>"
    assert git(project, "config", "--local", "--get-all", "include.path") == "../.gitconfig"
    assert state(project)["commit"] == revision
    assert state(project)["template"] == str(template)


def test_output_says_what_was_skipped_and_what_is_next(render, tmp_path):
    said = render(tmp_path).stdout.splitlines()
    assert said[-2:] == ["Skipped uv.lock: CD4ML_LOCK is 0", PARENT]


def test_abbreviation_and_cruft_give_the_same_bytes(clone, run, git, remote, template, tmp_path):
    out = tmp_path / "by cruft"
    out.mkdir()
    run(TOOLS / "cruft", "create", remote["url"], "--no-input", cwd=out)
    assert read(out / SLUG) == read(clone)
    assert describe(git, out / SLUG) == describe(git, clone) == DONE
    for project in (out / SLUG, clone):
        assert state(project)["commit"] == git(template, "rev-parse", "HEAD")
        run(TOOLS / "cruft", "check", cwd=project)
        assert run(TOOLS / "cruft", "diff", "--exit-code", cwd=project).stdout == ""


def test_local_folder_gives_the_same_bytes_but_its_own_name(bake, clone):
    local, published = read(bake()), read(clone)
    assert local.pop(".cruft.json") != published.pop(".cruft.json")
    assert local == published


def test_clone_of_the_published_template_gives_the_same_bytes(render, git, clone, remote, tmp_path):
    git(tmp_path, "clone", "--quiet", remote["path"], "checkout")
    render(tmp_path / "checkout", "--output-dir", "../out", source=".")
    assert read(tmp_path / "out" / SLUG) == read(clone)


def test_tag_is_noted(render, remote, git, tmp_path):
    options = ("--config-file", remote["config"], "--checkout", "v0.0.1")
    render(tmp_path, *options, source="gh:org/cd4ml-template")
    assert state(tmp_path / SLUG)["checkout"] == "v0.0.1"
    assert describe(git, tmp_path / SLUG) == DONE


def test_tag_given_to_cruft_changes_the_noted_checkout_alone(run, git, remote, tmp_path):
    command = (TOOLS / "cruft", "create", remote["url"], "--no-input", "--checkout", "v0.0.1")
    run(*command, cwd=tmp_path)
    assert git(tmp_path / SLUG, "status", "--porcelain") == "M .cruft.json"


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ("uvx", "cookiecutter==2.7.1"),
        ("uvx", "pipx", "run", "--spec", "cookiecutter==2.7.1", "cookiecutter"),
    ],
    ids=["uvx", "pipx"],
)
def test_runners_without_installation_give_the_same_bytes(
    run, bake, git, template, tmp_path, command
):
    path = f"{TOOLS}{os.pathsep}{os.environ['PATH']}"
    if not shutil.which(command[0], path=path):
        pytest.skip(f"{command[0]} is not installed")
    run(*command, template, "--no-input", cwd=tmp_path, PATH=path)
    assert read(tmp_path / SLUG) == read(bake())
    assert describe(git, tmp_path / SLUG) == DONE
    assert [path.name for path in tmp_path.iterdir()] == [SLUG]


# cruft compares and updates without side effects


@pytest.fixture
def logging_tools(tmp_path):
    """Stand-ins for the tools that a hook might call, which write down that they were."""
    log = tmp_path / "called.log"
    for name in ("dvc", "uv", "nbdime"):
        folder = write_tool(tmp_path / "stubs" / name, f'echo {name} "$@" >> "{log}"; exit 9\n')
    return folder, log


def test_cruft_renders_for_comparison_without_a_repository(clone, run, git, remote, logging_tools):
    folder, log = logging_tools
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    stage = clone.parent / "stage"
    git(clone.parent, "clone", "--quiet", remote["path"], stage)
    readme = stage / "{{cookiecutter.project_slug}}" / "NEW.md"
    readme.write_text("new\n")
    git(stage, "add", ".")
    git(stage, "commit", "--quiet", "--message", "v2")
    here = {"PATH": path, "CD4ML_LOCK": None}
    edited = json.loads((clone / ".cruft.json").read_text("utf-8")) | {"template": str(stage)}
    (clone / ".cruft.json").write_text(json.dumps(edited))
    git(clone, "commit", "--all", "--quiet", "--message", "Follow the stage", PATH=path)
    assert run(TOOLS / "cruft", "diff", "--exit-code", cwd=clone, **here).stdout == ""
    run(TOOLS / "cruft", "update", "--skip-apply-ask", cwd=clone, **here)
    assert set(git(clone, "status", "--porcelain").split("\n")) == {"M .cruft.json", "A  NEW.md"}
    assert not log.exists()


# Answers that hurt

HOSTILE = [
    "it's",
    'say "hi" """twice"""',
    "ends in a backslash\\",
    "C:\\new\\table\\u0041",
    "two\nlines\tand a tab",
    "Žofia Müller-Łoś 数据 👩‍🔬",
    "</script> & $HOME `id` $(id) %s #x",
    "r'''x''' {# no #} }}",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_answers_survive(render, git, tmp_path, text):
    quoted = "{% raw %}" + text + "{% endraw %}"  # cookiecutter renders the answers themselves
    answers = dict.fromkeys(("project_name", "description", "author_name"), quoted)
    render(tmp_path, project_slug="hostile", **answers)
    project = tmp_path / "hostile"
    kept = state(project)["context"]["cookiecutter"]
    assert {kept[question] for question in answers} == {text}
    author = git(project, "log", "--format=%an")
    # Git itself drops punctuation at either end.
    assert author == " ".join(text.split()).strip(".,:;<>\"\\'").translate({60: None, 62: None})
    assert describe(git, project) == DONE


def test_answer_that_is_a_template_is_rendered_once(render, tmp_path):
    once, literal = "{{ 7*7 }}", "{{ '{{ 7*7 }}' }}"
    render(tmp_path, project_slug="x", project_name=f"A {once}", description=literal)
    kept = state(tmp_path / "x")["context"]["cookiecutter"]
    assert (kept["project_name"], kept["description"]) == ("A 49", "{{ 7*7 }}")


@pytest.mark.parametrize("slug", ["../x", "1a", "A-b", "class", "json", "test", "tests"])
def test_bad_slug_leaves_nothing_behind(render, tmp_path, slug):
    out = tmp_path / "out"
    done = render(out, check=False, project_slug=slug)
    assert done.returncode == 1
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
    assert slug in error
    assert list(tmp_path.rglob("*")) == [out]


def test_all_bad_answers_are_named_at_once(render, tmp_path):
    bad = {"project_slug": "1a", "author_email": "nobody", "author_name": "\x07 bell"}
    done = render(tmp_path, check=False, project_name=" ", **bad)
    assert done.returncode == 1
    assert sum(line.startswith("ERROR:") for line in done.stderr.splitlines()) == 4
    assert list(tmp_path.iterdir()) == []


def test_only_declared_answers_are_kept(render, remote, tmp_path):
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    home.mkdir()
    temporary.mkdir()
    answers = {"author_name": "Someone Special", "an_unknown_answer": "hush-hush"}
    render(tmp_path / "out", env={"HOME": home, "TMPDIR": temporary}, **answers)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    held = [path for path in files if b"Someone Special" in path.read_bytes()]
    assert held
    assert not [path for path in files if b"hush-hush" in path.read_bytes()]


# Machines that lack something


def test_without_git(render, template, tmp_path):
    done = render(tmp_path, env={"PATH": tmp_path / "none"})
    assert (tmp_path / SLUG / ".gitattributes").is_file()
    reason = "Skipped .cruft.json, git repository, first commit: git is not on PATH"
    assert reason in done.stdout.splitlines()
    assert PARENT in done.stdout.splitlines()


def test_with_git_alone_on_path(render, git, bake, bare_tools, tmp_path):
    render(tmp_path, env={"PATH": bare_tools})
    assert describe(git, tmp_path / SLUG) == DONE
    assert read(tmp_path / SLUG) == read(bake())


def test_with_an_old_git(render, git, tmp_path):
    real = shutil.which("git")
    old = write_tool(
        tmp_path / "old" / "git",
        f"""\
        case " $* " in *" init -b"*|*--initial-branch*) exit 129;; esac
        case "$2" in init.defaultBranch=*) shift 2;; esac
        exec "{real}" -c init.defaultBranch=master "$@"
        """,
    )
    render(tmp_path, env={"PATH": old})
    assert describe(git, tmp_path / SLUG) == DONE


def write_settings(home, text):
    home.mkdir(exist_ok=True)
    (home / ".gitconfig").write_text(textwrap.dedent(text))
    return {"HOME": home}


def test_identity_of_the_user_is_kept_as_committer(render, git, tmp_path):
    env = write_settings(tmp_path / "home", "[user]\nname = Ann\nemail = ann@example.org\n")
    render(tmp_path / "out", env=env)
    people = git(tmp_path / "out" / SLUG, "log", "--format=%an %ae %cn %ce")
    assert people == "Data Team data@example.com Ann ann@example.org"


def test_without_identity_even_if_git_may_not_guess(render, git, tmp_path):
    env = write_settings(tmp_path / "home", "[user]\nuseConfigOnly = true\n")
    render(tmp_path / "out", env=env)
    people = git(tmp_path / "out" / SLUG, "log", "--format=%an %cn")
    assert people == "Data Team Data Team"


AWKWARD = {
    "signing without a key": "[commit]\ngpgSign = true\n[gpg]\nprogram = /bin/false\n",
    "signing with ssh": "[commit]\ngpgSign = true\n[gpg]\nformat = ssh\n",
    "hooks": "[core]\nhooksPath = {hooks}\n",
    "template with hooks": "[init]\ntemplateDir = {template}\n",
    "ignored files": "[core]\nexcludesFile = {ignored}\n",
    "line ends": "[core]\nautocrlf = true\nsafecrlf = true\n",
    "editor": "[core]\neditor = /bin/false\n[commit]\nverbose = true\n",
    "trunk": "[init]\ndefaultBranch = trunk\n",
}


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_settings_do_not_stop_the_commit(render, git, bake, tmp_path, name):
    for hook in ("pre-commit", "commit-msg", "prepare-commit-msg", "post-commit"):
        write_tool(tmp_path / "template" / "hooks" / hook, f"touch {tmp_path}/ran; exit 1\n")
    (tmp_path / "ignored").write_text("*.lock\n*.yaml\n")
    paths = {name: tmp_path / name for name in ("template", "ignored")}
    paths["hooks"] = tmp_path / "template" / "hooks"
    env = write_settings(tmp_path / "home", AWKWARD[name].format(**paths))
    done = render(tmp_path / "out", env=env)
    assert "first commit" not in done.stdout
    assert describe(git, tmp_path / "out" / SLUG) == DONE
    tracked = git(tmp_path / "out" / SLUG, "ls-tree", "-r", "HEAD")
    assert tracked == git(bake(), "ls-tree", "-r", "HEAD")
    assert not (tmp_path / "ran").exists()


def test_inside_another_repository(render, git, tmp_path):
    git(tmp_path, "init", "--quiet")
    done = render(tmp_path)
    project = tmp_path / SLUG
    assert not (project / ".git").exists()
    assert (project / ".cruft.json").is_file()
    outer = f"git repository, first commit: the project lies in the repository {tmp_path}"
    assert outer in done.stdout
    assert git(tmp_path, "for-each-ref") == ""
    assert git(tmp_path, "status", "--porcelain") == f"?? {SLUG}/"


def test_inside_another_repository_by_force(render, git, tmp_path):
    git(tmp_path, "init", "--quiet")
    render(tmp_path, env={"CD4ML_INIT": "1"})
    assert describe(git, tmp_path / SLUG) == DONE
    assert git(tmp_path, "for-each-ref") == ""


def test_inside_a_git_hook_of_another_repository(render, git, tmp_path):
    other = tmp_path / "other"
    git(tmp_path, "init", "--quiet", other)
    git(other, "commit", "--quiet", "--allow-empty", "--message", "theirs")
    before = read(other / ".git")
    foreign = {"GIT_DIR": other / ".git", "GIT_WORK_TREE": other, "GIT_PREFIX": "x/"}
    foreign |= {"GIT_INDEX_FILE": other / ".git" / "index", "GIT_AUTHOR_NAME": "Foreigner"}
    render(tmp_path / "out", env=foreign)
    assert describe(git, tmp_path / "out" / SLUG) == DONE
    assert "Foreigner" not in git(tmp_path / "out" / SLUG, "log", "--format=%an%cn")
    assert read(other / ".git") == before
    assert git(other, "log", "--format=%s") == "theirs"


def test_without_network(render, git, tmp_path):
    uv = write_tool(tmp_path / "bin" / "uv", "echo 'error: no network' >&2; exit 2\n")
    env = {"CD4ML_LOCK": None, "UV": uv / "uv", "HTTPS_PROXY": "http://127.0.0.1:9"}
    done = render(tmp_path / "out", env=env)
    assert "Skipped uv.lock: no network" in done.stdout.splitlines()
    assert describe(git, tmp_path / "out" / SLUG) == DONE


@pytest.mark.slow
def test_without_network_real_uv_gives_up(render, git, tmp_path):
    path = f"{TOOLS}{os.pathsep}{os.environ['PATH']}"
    if not shutil.which("uv", path=path):
        pytest.skip("uv is not installed")
    nowhere = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
    done = render(
        tmp_path / "out", env=nowhere | {"CD4ML_LOCK": None, "UV_NO_CACHE": "1", "PATH": path}
    )
    assert "Skipped uv.lock: " in done.stdout
    assert describe(git, tmp_path / "out" / SLUG) == DONE


def test_lock_is_part_of_the_first_commit(render, git, tmp_path):
    uv = write_tool(tmp_path / "bin" / "uv", "echo 'version = 1' > uv.lock\n")
    path = f"{uv}{os.pathsep}{os.environ['PATH']}"
    render(tmp_path / "out", env={"CD4ML_LOCK": None, "UV": None, "PATH": path})
    assert describe(git, tmp_path / "out" / SLUG) == DONE
    assert git(tmp_path / "out" / SLUG, "show", "HEAD:uv.lock") == "version = 1"


@pytest.mark.parametrize("change", ["README-draft.md", "cookiecutter.json"])
def test_changed_template_is_not_remembered(render, git, template, tmp_path, change):
    source = Path(shutil.copytree(template, tmp_path / "source"))
    with (source / change).open("a") as file:
        file.write("\n")
    done = render(tmp_path / "out", source=source)
    reason = "Skipped .cruft.json: the template has changes that are not committed"
    assert reason in done.stdout.splitlines()
    assert describe(git, tmp_path / "out" / SLUG) == DONE
    assert git(tmp_path / "out" / SLUG, "log", "--format=%s") == "Start from cd4ml-template"


def test_copy_without_history_is_not_remembered(render, git, template, tmp_path):
    copied = shutil.copytree(template, tmp_path / "copy", ignore=shutil.ignore_patterns(".git"))
    done = render(tmp_path / "out", source=copied)
    assert "Skipped .cruft.json: the template is not a git repository" in done.stdout
    assert describe(git, tmp_path / "out" / SLUG) == DONE


@pytest.mark.parametrize(
    ("wish", "left"), [("0", set()), ("render", {".cruft.json"}), ("1", {".cruft.json", ".git"})]
)
def test_wish_decides_what_is_left(render, tmp_path, wish, left):
    render(tmp_path, env={"CD4ML_INIT": wish})
    names = {path.name for path in (tmp_path / SLUG).iterdir()}
    assert names & {".cruft.json", ".git"} == left


def test_project_survives_when_nobody_reads_the_output(run, git, template, tmp_path):
    script = f'"{sys.executable}" -m cookiecutter "{template}" --no-input'
    run("sh", "-c", f"{script} | true", cwd=tmp_path)
    run("sh", "-c", f"{script} --output-dir second >&-", cwd=tmp_path, check=False)
    for folder in (tmp_path, tmp_path / "second"):
        assert describe(git, folder / SLUG) == DONE


def test_project_survives_a_terminal_without_letters(render, git, tmp_path):
    out = tmp_path / "dépôt"
    git(tmp_path, "init", "--quiet", out)
    done = render(out, env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"})
    assert PARENT in done.stdout.splitlines()


# Interrupted, repeated


# a process group of its own that Ctrl-C stops, even if whoever runs the tests ignores it
ALONE = """
import os, signal, sys
os.setsid()
signal.signal(signal.SIGINT, signal.default_int_handler)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.parametrize("moment", ["init", "config --local", "add", "commit"])
def test_interrupted_generation_is_finished_by_another(
    render, run, git, template, tmp_path, moment
):
    real = shutil.which("git")
    folder = write_tool(
        tmp_path / "bin" / "git",
        f"""\
        "{real}" "$@"; code=$?
        case " $* " in *" {moment} "*) kill -INT 0; sleep 2;; esac
        exit $code
        """,
    )
    out = tmp_path / "out"
    out.mkdir()
    command = (sys.executable, "-c", ALONE, sys.executable, "-m", "cookiecutter", template)
    path = f"{folder}:{os.environ['PATH']}"
    done = run(*command, "--no-input", cwd=out, check=False, PATH=path)
    assert done.returncode != 0
    assert (out / SLUG / ".git").is_dir(), done.stdout + done.stderr
    render(out, "--overwrite-if-exists")
    assert describe(git, out / SLUG) == DONE
    assert git(out / SLUG, "config", "--local", "--get-all", "include.path") == "../.gitconfig"


def test_repeating_changes_nothing(project, render, git):
    home = project.rename(project.with_name(SLUG))
    git(home, "config", "--local", "--add", "include.path", "/my/own")
    note = home / "notebooks" / "mine.ipynb"
    note.parent.mkdir(exist_ok=True)
    note.write_text("{}\n")
    git(home, "add", ".", PATH="/usr/bin:/bin")
    git(home, "commit", "--quiet", "--message", "Mine")
    before = read(home)
    render(home.parent, "--overwrite-if-exists")
    assert read(home) == before
    assert describe(git, home) == ("main", 2, "")
    included = git(home, "config", "--local", "--get-all", "include.path")
    assert included.split("\n") == ["../.gitconfig", "/my/own"]


def test_unsaved_work_is_not_overwritten(project, render):
    home = project.rename(project.with_name(SLUG))
    (home / ".gitattributes").write_text("mine\n")
    before = read(home)
    done = render(home.parent, "--overwrite-if-exists", check=False)
    assert done.returncode == 1
    assert "ERROR: the folder of this project_slug holds work" in done.stderr
    assert read(home) == before


# What git does with notebooks


def write_notebook(path, source, output=None):
    """Write a notebook of one cell, with an output if asked."""
    shown = [{"name": "stdout", "output_type": "stream", "text": [output]}] if output else []
    cell = {"cell_type": "code", "id": "one", "metadata": {}, "source": [source]}
    cell |= {"execution_count": 1 if output else None, "outputs": shown}
    note = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(note, indent=1, sort_keys=True) + "\n")
    return path


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


def test_a_secret_in_an_answer_is_nowhere_afterwards(render, environment, tmp_path):
    """Cookiecutter keeps the answers of a run for the next one, before it asks the hook."""
    answers = {"storage": "ssh", "storage_url": "ssh://me:sesame@host/p"}
    done = render(tmp_path, check=False, **answers)
    assert done.returncode == 1
    assert "ERROR: storage_url holds a password" in done.stderr
    assert "sesame" not in done.stdout + done.stderr
    for folder in (tmp_path, Path(environment["HOME"])):
        kept = [path for path in folder.rglob("*") if path.is_file()]
        assert [path for path in kept if b"sesame" in path.read_bytes()] == []
    elsewhere = tmp_path / "config.json"
    elsewhere.write_text(json.dumps({"replay_dir": str(tmp_path / "replay")}))
    done = render(tmp_path, "--config-file", elsewhere, check=False, **answers)
    assert "in its replay_dir: delete them" in done.stderr  # the hook is not told


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


# What DVC sees


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
