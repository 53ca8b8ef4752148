"""Tune: the trials are those of the space, judged on what they did not see; DVC gets the best."""

import dataclasses
import shutil
import subprocess
import sys

import pytest
import yaml

from .. import params, tune
from ..stage import StageError
from .conftest import PACKAGE, ROOT


def with_space(**changes):
    loaded = params.load()
    return loaded.model_copy(update={"tune": loaded.tune.model_copy(update=changes)})


def test_the_parameters_as_they_are_come_first_and_no_choice_twice(project):
    space = {"depth": [2, 3], "subsample": [0.5]}
    found, now = tune.candidates(with_space(space=space, trials=100)), params.load().train
    assert found[0] == {"depth": now.depth, "subsample": now.subsample}
    assert sorted(choice["depth"] for choice in found[1:]) == [2, 3]
    assert len(tune.candidates(with_space(trials=5))) == 6


def test_the_best_comes_first_and_again_the_same(copy):
    parameters = with_space(trials=3)
    trials = tune.run(parameters, tune.candidates(parameters))
    assert [trial.error for trial in trials] == sorted(trial.error for trial in trials)
    assert trials == tune.run(parameters, tune.candidates(parameters))


def test_the_holdout_stays_unseen(copy, monkeypatch):
    parameters = params.load()
    choice: tune.Choice = {"depth": 3}
    before = tune.attempt(parameters, tune.tables.OFFLINE, choice)
    read = tune.examples.read(parameters.engine)
    whole = dataclasses.replace(read, target=read.target.copy())
    known, holdout = whole.split(parameters.train.holdout)
    holdout.target[:] = 1e6
    assert whole.target.max() == 1e6
    monkeypatch.setattr(tune.examples, "read", lambda *_: whole)
    assert tune.attempt(parameters, tune.tables.OFFLINE, choice) == before
    known.target[-10:] = 1e6
    assert tune.attempt(parameters, tune.tables.OFFLINE, choice) != before


def by_command(folder, **engine):
    """What `make tune` prints of two trials, in a repository that is made for it."""
    path = folder / "params.yaml"
    content = yaml.safe_load(path.read_text())
    content["tune"] |= {"trials": 2, "queued": 1}
    content["engine"] |= engine
    path.write_text(yaml.safe_dump(content))
    for name in ("dvc.yaml", ".dvc", ".gitignore"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, dirs_exist_ok=True)
        else:
            shutil.copy(source, folder / name)
    git = ["git", "-c", "user.name=T", "-c", "user.email=t@example.com"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "--no-verify", "-m", "x"]):
        subprocess.run([*git, *words], check=True, cwd=folder)
    command = [sys.executable, "-m", f"{PACKAGE}.tune"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert output.count("rmse ") == 3
    assert "queued tune-1: depth " in output
    queued = subprocess.run(
        [sys.executable, "-m", "dvc", "queue", "status"], capture_output=True, text=True
    ).stdout
    assert "tune-1" in queued
    assert "Queued" in queued
    return output


def test_dvc_gets_the_best_as_experiments(copy):
    by_command(copy)


def test_what_dvc_refuses_is_told(copy):
    with pytest.raises(StageError, match="dvc does not queue tune-1: "):
        tune.queue("tune-1", {"depth": 3})
