"""The gate: what it decides, how often it is right, and what it does when a model is lost."""

# ruff: noqa: F401, F811 - a fixture that is imported is not called

import json
import shutil
from pathlib import Path

import pytest
from changes import changed, project, verb
from conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("project")]


def test_a_lost_model_is_made_again_from_its_commit(project, verb):
    (project / ".dvc/config.local").unlink()
    done = verb("gate", project, UV_CACHE_DIR=Path.home() / ".cache/uv")
    assert done.returncode == 0, done.stderr
    assert "made again from its commit" in done.stdout
    assert "on the same" in done.stdout
    assert not list(Path(project / ".git").glob("worktrees/*"))


def test_a_model_that_cannot_be_made_again_needs_a_person(project, verb, git):
    git(project, "stash", "--quiet", "--include-untracked")
    git(project, "checkout", "--quiet", "main")
    train = project / "src/promotion_ranker/train.py"
    train.write_text('raise SystemExit("ERROR: no such machine")\n')
    rewrite_lock(project)
    git(project, "commit", "--quiet", "--all", "--message", "Lose the model")
    git(project, "checkout", "--quiet", "feature")
    git(project, "merge", "--quiet", "--strategy=ours", "--message", "Go on", "main")
    done = verb("gate", project, UV_CACHE_DIR=Path.home() / ".cache/uv")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(
        "needs a person: no comparison with main: its model is not stored"
    )
    assert len(done.stdout.splitlines()) == 1


def rewrite_lock(project):
    """Make dvc.lock name a model that nobody has."""
    path = project / "dvc.lock"
    lines = path.read_text().splitlines()
    place = lines.index("    - path: models", lines.index("  train:"))
    lines[place + 2] = "      md5: 00000000000000000000000000000000.dir"
    path.write_text("\n".join(lines) + "\n")


def test_other_features_need_a_person(project, verb):
    path = project / "models/lineage.json"
    lineage = json.loads(path.read_text())
    lineage["inputs"]["shoe_size"] = []
    path.unlink()
    path.write_text(json.dumps(lineage))
    done = verb("gate", project)
    assert done.returncode == 0
    assert done.stdout.startswith("needs a person: the features are others than main's: shoe_size")


def test_a_change_that_leaves_the_model_alone_may_go(project, verb, git):
    git(project, "update-ref", "refs/heads/main", "HEAD~0")
    git(project, "commit", "--quiet", "--allow-empty", "--message", "Words")
    assert "byte for byte" in verb("gate", project).stdout


def test_the_gate_is_as_often_right_as_it_says(living, run):
    """Truth, simulated: at the margin at most one in twenty is promoted or blocked by mistake."""
    shutil.copy(ROOT / "tests/gate_trials.py", living.parent / "gate_trials.py")
    command = (living / ".venv/bin/python", living.parent / "gate_trials.py")
    trials = json.loads(run(*command, cwd=living, PYTHONPATH=living).stdout)
    for worlds in trials.values():
        assert worlds["better"]["promote"] >= 95
        assert worlds["equal"]["block"] == 0
        assert worlds["equal"]["promote"] >= 60
        assert worlds["at the margin"]["promote"] <= 12
        assert worlds["at the margin"]["block"] <= 12
        assert worlds["worse"]["promote"] == 0
        assert worlds["worse"]["block"] >= 95
        for name in ("at the margin", "worse"):
            assert 80 <= worlds[name]["covered"] <= 98


def test_the_deciding_number_of_examples_is_told(living, run):
    gains = {
        "Gain(-0.01, -0.05, 0.03, 1000)": "4000",  # a reach of 0.04 over a distance of 0.02
        "Gain(-0.11, -0.193, -0.027, 20_280)": "22000",
        "Gain(-0.03, -0.05, 0.0, 1000)": "None",
    }
    listed = ", ".join(f"examples_that_decide({gain}, 0.03)" for gain in gains)
    code = f"from delivery.gain import *\nprint({listed})"
    said = run(living / ".venv/bin/python", "-c", code, cwd=living).stdout
    assert said.split() == list(gains.values())
