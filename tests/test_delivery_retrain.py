"""Retraining and the alarm: what they propose, whom they tell, and what they leave alone."""

import re
import shutil

import pytest
from forges import GitHub, serving

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("project")]
SECRET = "a-token"  # noqa: S105
SMALL = {
    "players: 18000": "players: 600",
    "exposures_per_day: 1300": "exposures_per_day: 150",
    "min_child_weight: 50": "min_child_weight: 10",
    "rounds: 30": "rounds: 20",
    "resamples: 1000": "resamples: 100",
    "margin: 0.03": "margin: 0.9",
    "policy.model_over_random: 0.0": "policy.model_over_random: -0.9",
    "error.model_r2: 0.0": "error.model_r2: -0.9",
}


@pytest.fixture(scope="module")
def small(living, user, git, tmp_path_factory):
    """A project with a small world, its main pushed to an origin that lies beside it."""
    folder = tmp_path_factory.mktemp("retrain")
    project = folder / "promotion_ranker"
    shutil.copytree(living, project, symlinks=True, ignore=shutil.ignore_patterns(".venv"))
    git(project, "config", "core.hooksPath", "/dev/null")
    change(project, SMALL)
    tools = f"{living / '.venv/bin'}:/usr/bin:/bin"
    variables = {"PATH": tools, "PYTHONPATH": project / "src"}
    user(living / ".venv/bin/dvc", "repro", cwd=project, **variables)
    git(project, "commit", "--quiet", "--all", "--message", "A small world")
    git(folder, "init", "--quiet", "--bare", folder / "origin")
    git(project, "remote", "add", "origin", folder / "origin")
    git(project, "push", "--quiet", "origin", "HEAD:refs/heads/main")
    git(project, "fetch", "--quiet", "origin")
    return project


@pytest.fixture
def project(small, tmp_path, git):
    """A copy of it with an origin of its own."""
    shutil.copytree(small.parent, tmp_path / "all", symlinks=True)
    project = tmp_path / "all" / small.name
    git(project, "remote", "set-url", "origin", tmp_path / "all" / "origin")
    return project


@pytest.fixture
def forge():
    with serving(GitHub(("Authorization", f"Bearer {SECRET}"))) as fake:
        yield fake


@pytest.fixture
def verb(living, project, forge, user, git, tmp_path):
    """Run a verb as a scheduled run of GitHub does."""

    def verb(name, **changes):
        (tmp_path / "event.json").write_text("{}")
        variables = {
            "PATH": "/usr/bin:/bin",  # no environment is activated
            "PYTHONPATH": project / "src",
            "no_proxy": "*",
            "GITHUB_ACTIONS": "true",
            "GITHUB_API_URL": forge.url,
            "GITHUB_EVENT_NAME": "schedule",
            "GITHUB_EVENT_PATH": tmp_path / "event.json",
            "GITHUB_REF_NAME": "main",
            "GITHUB_REF_TYPE": "branch",
            "GITHUB_REPOSITORY": "team/ranker",
            "GITHUB_RUN_ID": "123",
            "GITHUB_SERVER_URL": "https://github.example",
            "GITHUB_SHA": git(project, "rev-parse", "HEAD"),
            "GITHUB_TOKEN": SECRET,
        }
        command = (living / ".venv/bin/python", "-m", "delivery", name)
        done = user(*command, cwd=project, check=False, **variables | changes)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return verb


def change(project, words, name="params.yaml"):
    text = (project / name).read_text()
    for old, new in words.items():
        assert old in text, old
        text = text.replace(old, new)
    (project / name).write_text(text)


def state(project, git):
    """All that a failure must leave alone: commit, branch, branches, files and data."""
    outputs = [path for name in ("data/raw", "models") for path in (project / name).iterdir()]
    return (
        git(project, "status", "--porcelain", "--branch"),
        git(project, "branch", "--list"),
        git(project, "rev-parse", "HEAD"),
        {path: path.read_bytes() for path in sorted(outputs)},
    )


def test_newer_data_become_one_pull_request_with_the_report(project, verb, forge, git):
    before = state(project, git)
    first = verb("retrain", UNTIL="2026-07-07")
    assert first.returncode == 0, first.stderr
    (pull,) = forge.pulls
    assert pull["head"] == "retrain"
    assert pull["title"].startswith("Retrain on data up to 2026-07-07 (")
    assert "### Metrics" in pull["body"]
    assert "2026-07-07" in pull["body"]
    changed = git(project, "diff", "--stat", "origin/main", "origin/retrain")
    assert "params.yaml" in changed
    assert "dvc.lock" in changed
    moved = git(project, "diff", "--unified=0", "origin/main", "origin/retrain", "params.yaml")
    assert moved.count("\n+") == 2  # the name of the file, and the line of the date
    again = verb("retrain", UNTIL="2026-07-07")
    assert again.returncode == 0, again.stderr
    assert "nothing new" in again.stdout
    later = verb("retrain", UNTIL="2026-07-14")
    assert later.returncode == 0, later.stderr
    (pull,) = forge.pulls
    assert "2026-07-14" in pull["title"]
    assert state(project, git) == before
    there = git(project, "ls-remote", "origin")
    assert there.count("refs/heads/") == 2
    assert git(project, "log", "--format=%s", "origin/main..origin/retrain").count("\n") == 0


def test_nothing_new_opens_nothing(project, verb, forge, git):
    done = verb("retrain", UNTIL="2026-06-30")
    assert (done.returncode, forge.calls) == (0, [])
    assert done.stdout.startswith("nothing new: ")


def test_data_that_break_the_contract_leave_all_as_it_was_and_name_the_rows(
    project, verb, forge, git
):
    change(project, {"1,boosts,discount": "1,boosts,free"}, "data/promotions.csv")
    git(project, "commit", "--quiet", "--all", "--message", "A new message")
    before = state(project, git)
    done = verb("retrain", UNTIL="2026-07-07")
    assert done.returncode == 1
    assert "promotions.message must be one of" in done.stderr.splitlines()[-2] + done.stderr
    assert "promotion_id=1" in done.stderr[done.stderr.rindex("ERROR: ") :]
    assert (state(project, git), forge.calls) == (before, [])


def test_what_a_person_began_is_not_touched(project, verb, forge, git):
    change(project, {"depth: 5": "depth: 6"})
    done = verb("retrain", UNTIL="2026-07-07")
    assert (done.returncode, forge.calls) == (2, [])
    git(project, "checkout", "--quiet", "--", "params.yaml")
    git(project, "push", "--quiet", "origin", "HEAD:refs/heads/retrain")
    done = verb("retrain", UNTIL="2026-07-07")
    assert done.returncode == 1
    assert "commits of a person" in done.stderr
    assert forge.wrote() == []


def test_inside_the_band_it_merges_itself(project, verb, forge, git):
    change(project, {"merge_within: null": "merge_within: 5"})
    git(project, "commit", "--quiet", "--all", "--message", "Merge by itself")
    git(project, "push", "--quiet", "origin", "HEAD:refs/heads/main")
    done = verb("retrain", UNTIL="2026-07-07")
    assert done.returncode == 0, done.stderr
    git(project, "fetch", "--quiet", "origin")
    assert git(project, "rev-parse", "origin/main") == git(project, "rev-parse", "origin/retrain")
    assert "merged: promote" in done.stdout


LOG = """
import datetime, pathlib
from promotion_ranker.tests import log
log.days(pathlib.Path("logs/a.jsonl"), datetime.date(2026, 7, 1), datetime.date(2026, 7, 15))
"""


def test_an_alarm_opens_one_issue_and_a_good_verdict_closes_it(project, living, verb, forge, user):
    variables = {"PYTHONPATH": project / "src"}
    user(living / ".venv/bin/python", "-c", LOG, cwd=project, **variables)
    log = project / "logs/a.jsonl"
    good = log.read_text()
    log.write_text(re.sub('"spend_84d": [^,]*', '"spend_84d": null', good))
    done = verb("monitor", UNTIL="2026-07-14")
    assert done.returncode == 1, done.stderr
    (issue,) = forge.issues
    assert issue["state"] == "open"
    assert "spend_84d" in issue["body"]
    assert "xychart-beta" in issue["body"]
    for command in ("make retrain", "make rollback", "make monitor"):
        assert command in issue["body"]
    assert verb("monitor", UNTIL="2026-07-14").returncode == 1
    assert len(forge.issues) == 1
    log.write_text("")
    verb("monitor", UNTIL="2026-07-14")
    log.write_text(good)
    done = verb("monitor", UNTIL="2026-07-14")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [issue["state"] for issue in forge.issues] == ["closed"]


def test_a_monitor_that_cannot_look_says_so_and_closes_nothing(project, verb, forge, tmp_path):
    host = "storage.example ssh-ed25519 AAAA\n"
    done = verb("monitor", LOGS="nowhere/*.jsonl", SSH_KNOWN_HOSTS=host, HOME=tmp_path)
    assert (tmp_path / ".ssh/known_hosts").read_text() == host, "the log may lie in the storage"
    assert done.returncode == 2
    assert "nothing is told" in done.stderr
    assert forge.calls == []
