"""Each provider's file is executed: the first push, a change, the button, a tag, and the clock.

What a job needs from outside is real (git, the registry, the storage) or a stand-in that says no to
what it does not know (the provider's API, docker). Jobs run in fresh clones, and share nothing but
the storage and the provider's cache.
"""

import re
import shutil
import subprocess
from dataclasses import replace

import pytest
import registry
from conftest import PYTHON, copy
from forges import serving
from node import node  # noqa: F401
from runners import Event
from team import FORGES, TODAY, Team
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
EVERY = {"check", "reproduce", "report", "image"}
CLOCK = {"MONITOR": "true", "RETRAIN": "true"}
TOLD = ("github", "gitlab")  # the others start nothing when a pull request is closed
pytestmark = pytest.mark.slow


def at(*names):
    """Run a test at some providers, each in a group of its own."""
    marked = (pytest.param(name, marks=pytest.mark.xdist_group(f"ci-{name}")) for name in names)
    return pytest.mark.parametrize("provider", list(marked))


everywhere = at(*FORGES)


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
def team(provider, tmp_path, scratch, git, node, needs):  # noqa: F811
    """Make the repository of the provider that the test names."""
    images = registry.running(needs("docker-registry"), tmp_path / "images")
    with serving(FORGES[provider]()) as forge, images as address:
        yield Team(provider, tmp_path, scratch / "machine", git, node, forge, address)
    pids = tmp_path / "hosts/pids"
    for pid in pids.read_text().split() if pids.exists() else ():
        subprocess.run(["kill", "-9", pid], capture_output=True, check=False)


@everywhere
def test_the_first_push(provider, team, history, bake):
    start = team.commit(bake(ci=provider), history[0], "main")
    results = team.run(Event("push", sha=start, base=start))
    assert set(results) == EVERY
    assert "nothing was reproduced yet" in results["check"].log
    assert results["reproduce"].log.count("Running stage") == 5


@everywhere
def test_a_pull_request_the_button_and_the_end(provider, team, history, bake):
    opened = propose(team, history, bake(ci=provider))
    results = team.run(opened)
    assert set(results) == EVERY | {"notebooks", "review-app"}
    assert len(team.forge.comments) == 1
    assert list(results["report"].artifacts.rglob("report.html"))
    assert "idea.ipynb" in results["notebooks"].log
    assert team.serves("review-7") == [opened.sha]
    chosen = {"VERB": "deploy", "ENVIRONMENT": "staging", "VERSION": opened.sha}
    button = Event("button", sha=opened.base, base=opened.base, inputs=chosen)
    assert set(team.run(button)) == {"deploy"}
    swept = Event("schedule", variables=opened.variables, sha=opened.base, base=opened.base)
    for end in [replace(opened, kind="closed"), swept] if provider in TOLD else [swept]:
        if not team.serves("review-7"):
            team.run(opened, "review-app")
        team.run(end)
        assert team.serves("review-7") == []
    assert team.serves("staging") == [opened.sha]


@at("github", "gitlab", "azure")  # Bitbucket runs it in the fork
def test_a_fork_is_built_and_reported_without_a_word_to_the_project(provider, team, history, bake):
    opened = replace(propose(team, history, bake(ci=provider)), fork=True)
    results = team.run(opened, "report", "image")
    assert list(results["report"].artifacts.rglob("report.html"))
    assert "built, and not pushed: a fork has no secret" in results["image"].log
    assert team.forge.wrote() == []


@everywhere
def test_a_tag_is_deployed(provider, team, history, bake):
    start = team.commit(bake(ci=provider), history[1], "main")
    team.git(team.origin, "tag", "v1")
    pushed = Event("tag", variables={"TAG_ENVIRONMENT": "staging"}, sha=start, base=start)
    team.run(pushed, "image", "deploy-tag")  # the other jobs are those of a push
    assert team.serves("staging", "version") == ["v1"]
    assert team.serves("staging") == [start]


@everywhere
def test_what_the_clock_starts(provider, team, history, bake):
    start = team.commit(bake(ci=provider), history[1], "main")

    def ring(job, **ends):
        clock = Event("schedule", schedule=job, variables=CLOCK, sha=start, base=start)
        return team.run(clock, **ends)[job]

    watched = ring("monitor", broken="monitor")
    assert "0 requests on the last day" in watched.log
    assert list(watched.artifacts.rglob("monitor.html"))
    assert len(team.forge.issues) == 1
    ring("retrain")
    (pull,) = team.forge.pulls
    title, branch, *_ = team.forge.proposal(pull)
    assert title.startswith(f"Retrain on data up to {TODAY} (")
    assert f'until: "{TODAY}"' in team.git(team.origin, "show", f"{branch}:params.yaml")
    assert "There is no later release of the template." in ring("template-update").log


def propose(team, history, project):
    """Commit a model to main and a change on a branch, while main goes on; the pull request."""
    _, main, changed = history
    team.commit(project, main, "main")
    head = team.commit(project, changed, "change")
    base = team.go_on("main")
    return Event("pull_request", variables={"REVIEW_APPS": "true"}, sha=head, base=base)
