"""The files of GitHub and GitLab are executed: the first push, a change, and the button.

What a job needs from outside is real (git, the registry, the storage) or a stand-in that says no to
what it does not know (the provider's API, docker). Jobs run in fresh clones, and share nothing but
the storage and the provider's cache.
"""

import re
import shutil
import subprocess

import pytest
import registry
from conftest import PYTHON, copy
from forges import serving
from node import node  # noqa: F401
from runners import Event
from team import FORGES, Team
from test_delivery_check import EMPTY, write_notebook

SMALL = {
    "players": 1500,
    "experiment_start": '"2026-06-01"',
    "exposures_per_day": 200,
    "rounds": 20,
    "resamples": 40,
    r"\w+\.model_\w+": -9.0,
    "depth": 4,
}
GITHUB = [pytest.param("github", marks=pytest.mark.xdist_group("ci-github"))]
GITLAB = [pytest.param("gitlab", marks=pytest.mark.xdist_group("ci-gitlab"))]
pytestmark = pytest.mark.slow


def change(path, **values):
    """Set parameters by their names."""
    text = path.read_text()
    for name, value in values.items():
        text, found = re.subn(rf"(?m)^( +{name}:) [^\[].*", rf"\1 {value}", text)
        assert found, name
    path.write_text(text)


@pytest.fixture(scope="session")
def history(bake, scratch, user):
    """What a small project has, apart from its provider: as rendered, reproduced, and changed."""
    project = copy(bake(), scratch / "history" / "promotion_ranker")
    change(project / "params.yaml", **SMALL)
    user("uv", "lock", "--quiet", cwd=project)
    states = []

    def keep(name):
        state = scratch / "history" / name
        (state / "reports").mkdir(parents=True)
        for path in ("params.yaml", "uv.lock", "dvc.lock", "reports", "notebooks"):
            if (project / path).exists():
                user("cp", "-a", project / path, state, cwd=project)
        states.append(state)

    keep("first")
    user("uv", "sync", "--quiet", cwd=project)
    user(*PYTHON[:-1], "dvc", "repro", "--quiet", cwd=project)
    keep("main")
    change(project / "params.yaml", depth=3)
    write_notebook(project / "notebooks" / "idea.ipynb", EMPTY)
    user(*PYTHON[:-1], "dvc", "repro", "--quiet", cwd=project)
    keep("change")
    shutil.copytree(project / ".dvc/cache/files", scratch / "history/storage/files")
    return states


@pytest.fixture
def team(provider, tmp_path, git, node, needs):  # noqa: F811
    """Make the repository of the provider that the test names."""
    images = registry.running(needs("docker-registry"), tmp_path / "images")
    with serving(FORGES[provider]()) as forge, images as address:
        yield Team(provider, tmp_path, git, node, forge, address)
    pids = tmp_path / "hosts/pids"
    for pid in pids.read_text().split() if pids.exists() else ():
        subprocess.run(["kill", "-9", pid], capture_output=True, check=False)


@pytest.mark.parametrize("provider", GITHUB)
def test_the_first_push_to_github(provider, team, history, bake):
    start = team.commit(bake(ci=provider), history[0], "main")
    results = team.run_github(Event("push", sha=start, base=start))
    assert set(results) == {"check", "reproduce", "report", "image"}
    assert "nothing was reproduced yet" in results["check"].log
    assert results["reproduce"].log.count("Running stage") == 5


@pytest.mark.parametrize("provider", GITHUB)
def test_a_pull_request_and_the_button(provider, team, history, bake):
    opened = propose(team, history, bake(ci=provider))
    results = team.run_github(opened)
    assert len(team.forge.comments) == 1
    assert (results["report"].artifacts / "report.html").exists()
    assert "idea.ipynb" in results["notebooks"].log
    assert team.serves("review-7") == [opened.sha]
    chosen = {"verb": "deploy", "environment": "staging", "version": opened.sha}
    team.run_github(Event("button", sha=opened.base, base=opened.base, inputs=chosen))
    assert team.serves("staging") == [opened.sha]


@pytest.mark.parametrize("provider", GITLAB)
def test_the_first_push_to_gitlab(provider, team, history, bake):
    start = team.commit(bake(ci=provider), history[0], "main")
    passed = team.run_gitlab(Event("push", sha=start, base=start))
    assert passed == {"check", "reproduce", "report", "build"}


@pytest.mark.parametrize("provider", GITLAB)
def test_a_merge_request_and_the_button(provider, team, history, bake):
    opened = propose(team, history, bake(ci=provider))
    passed = team.run_gitlab(opened)
    assert passed == {"check", "reproduce", "report", "notebooks", "build", "review-app"}
    assert len(team.forge.comments) == 1
    artifacts = team.folder / "clone/.gitlab-ci-local/artifacts"
    assert (artifacts / "report/reports/delivery/report.html").exists()
    assert team.serves("review-7") == [opened.sha]
    assert team.run_gitlab(opened, "review-app-down") == {"review-app-down"}
    assert team.serves("review-7") == []
    chosen = {"VERB": "deploy", "ENVIRONMENT": "staging", "VERSION": opened.sha}
    button = Event("button", sha=opened.base, base=opened.base, inputs=chosen)
    assert team.run_gitlab(button) == {"deploy"}
    assert team.serves("staging") == [opened.sha]


def propose(team, history, project):
    """Commit a model to main and a change on a branch; its pull request."""
    _, main, changed = history
    base, head = team.commit(project, main, "main"), team.commit(project, changed, "change")
    return Event("pull_request", variables={"REVIEW_APPS": "true"}, sha=head, base=base)
