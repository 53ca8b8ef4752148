"""Projects made in every way are updated, and cruft is the second way to do it."""

import pytest
from conftest import TOOLS
from projects import SLUG, commit, state
from releases import outdated, refuse, rendered, set_state  # noqa: F401


def test_project_from_after_the_newest_release_is_not_taken_back(project, update, git, releases):
    stage = releases["stage"]
    git(stage, "checkout", "--quiet", "--detach", "v3.0.0")
    git(stage, "commit", "--quiet", "--allow-empty", "--message", "Later")
    set_state(git, project, template=str(stage), commit=git(stage, "rev-parse", "HEAD"))
    assert update(project).stdout == "There is no later release of the template.\n"


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
    tables = [
        state(folder)["context"]["cookiecutter"]["_storages"] for folder in (project, renewed)
    ]
    assert tables[0] == tables[1]
    commit(git, project, "Update by cruft")
    assert cruft(project, "diff", "--exit-code").stdout == ""
    assert update(project, "v2.0.0").stdout == "There is no later release of the template.\n"
    update(project)
    commit(git, project, "Update by make")
    cruft(project, "check")
    assert cruft(project, "diff", "--exit-code").stdout == ""
