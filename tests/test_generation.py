"""Real renders by cookiecutter and cruft: one result, whatever the command, and once more."""

import json
import os
import shutil
import sys

import pytest
from conftest import TOOLS
from projects import ALONE, DONE, PARENT, SLUG, describe, read, state, write_tool


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


# Interrupted, repeated


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
