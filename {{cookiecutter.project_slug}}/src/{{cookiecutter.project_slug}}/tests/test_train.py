"""Stage train: the same bytes every time, what is served equals what was trained."""

import json
import subprocess
import sys

import numpy as np
import pytest

from .. import examples, model, params, tables, tracking, train
from ..contract import TASK
from ..stage import StageError
from .conftest import PACKAGE, keep


def contents():
    """The bytes of all that the stage makes, but for the lineage: in a test it names other code."""
    files = (path for top in (model.FOLDER, tracking.FOLDER) for path in top.rglob("*.*"))
    return {path: path.read_bytes() for path in files if path.name != model.LINEAGE}


def test_two_processes_give_the_same_bytes(copy):
    before = contents()
    run = [sys.executable, "-m", f"{PACKAGE}.train"]
    for _ in range(2):
        subprocess.run(run, check=True)
        assert contents() == before


def test_what_is_served_equals_what_was_trained_with_and_without_unknowns(copy):
    parameters = params.load()
    training, holdout = examples.read(parameters.engine).split(parameters.train.holdout)
    booster = train.fit(parameters, training)
    inputs = np.vstack([holdout.inputs, np.full((1, holdout.inputs.shape[1]), np.nan, np.float32)])
    train.check_parity(booster, model.Model.open(), inputs, 1e-5)


def test_a_served_model_that_differs_is_refused(copy):
    parameters = params.load()
    training, holdout = examples.read(parameters.engine).split(parameters.train.holdout)
    other = train.fit(parameters, training.take(slice(0, len(training) // 2)))
    with pytest.raises(StageError, match="ONNX model differs from the trained one"):
        train.check_parity(other, model.Model.open(), holdout.inputs, 1e-4)


def test_the_baseline_is_the_mean_of_each_action(copy):
    parameters = params.load()
    training, _ = examples.read(parameters.engine).split(parameters.train.holdout)
    baseline = model.open_baseline()
    for number, mean in zip(baseline.action_ids, baseline.means, strict=True):
        assert mean == pytest.approx(training.target[training.action_id == number].mean())
    assert baseline.predict(np.array([999])).tolist() == [baseline.overall]
    codes, price = baseline.inputs[:, :2], baseline.inputs[:, 2]
    assert codes[5].tolist() == [1, 2]  # promotion 6: coins, last_chance
    assert price[5] == np.float32(9.99)


def test_one_action_only_is_named(copy):
    keep(tables.OFFLINE, "action_id = 3")
    with pytest.raises(StageError, match="only promotion_id 3 was ever shown"):
        train.main()


def test_too_few_examples_are_named(copy):
    keep(tables.OFFLINE, "example_id = 1")
    with pytest.raises(StageError, match="1 examples are too few"):
        train.main()


def test_a_failure_leaves_the_last_model(copy, monkeypatch):
    before = (model.FOLDER / model.ONNX).read_bytes()
    monkeypatch.setattr(train, "digest", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train.main()
    assert (model.FOLDER / model.ONNX).read_bytes() == before


def test_lineage_names_what_the_model_depends_on(finished):
    lineage = json.loads((finished / "models" / "lineage.json").read_text())
    assert {"train.py", "model.py", "contract.py"} <= set(lineage["code"])
    assert lineage["parameters"]["train"]["rounds"] == 20
    assert lineage["lock"] == train.digest(finished / "uv.lock")
    assert set(lineage["libraries"]) == set(train.LIBRARIES)
    assert not {"commit", "revision", "time", "date"} & set(lineage)


def test_where_a_cluster_is_reached_is_no_part_of_the_lineage(copy, monkeypatch):
    before = train.lineage(params.load(), model.FOLDER)
    monkeypatch.setenv("ENGINE_ADDRESS", "tcp://dask.example.com:8786")
    assert train.lineage(params.load(), model.FOLDER) == before


def test_the_model_has_an_input_for_each_feature(finished):
    served = model.Model.open(finished / "models")
    inputs = np.zeros((3, len(TASK.feature_names)), np.float32)
    assert served.predict(inputs).shape == (3,)
