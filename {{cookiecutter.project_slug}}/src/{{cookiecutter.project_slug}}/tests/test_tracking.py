"""Tracking: the curve is that of the model, and no byte of the model knows of it."""

import json
import sys

import pandas as pd
import pytest

from .. import evaluate, examples, params, tracking, train
from ..stage import StageError


def test_the_curve_has_each_round_and_ends_at_the_model_that_is_judged(finished):
    rows = pd.read_csv(finished / tracking.FOLDER / "plots/metrics/holdout/rmse.tsv", sep="\t")
    assert rows["step"].tolist() == list(range(20))
    judged = json.loads((finished / evaluate.METRICS).read_text())["error"]["model_rmse"]["value"]
    assert rows["rmse"].iloc[-1] == pytest.approx(judged, rel=1e-4)
    last = json.loads((finished / tracking.FOLDER / "metrics.json").read_text())
    assert last["holdout"]["rmse"] == rows["rmse"].iloc[-1]
    assert last["training"]["rmse"] < last["holdout"]["rmse"]


def test_who_watches_changes_nothing(copy):
    parameters = params.load()
    training, holdout = examples.read(parameters.engine).split(parameters.train.holdout)
    told = []
    watched = train.fit(parameters, training, holdout, lambda *figures: told.append(figures))
    assert [number for number, _ in told] == list(range(parameters.train.rounds))
    assert watched.save_raw() == train.fit(parameters, training).save_raw()


def test_the_lineage_does_not_know_the_tracker(finished):
    lineage = json.loads((finished / "models" / "lineage.json").read_text())
    assert "tracker" not in lineage["parameters"]["train"]


@pytest.mark.parametrize("address", ["", "mlruns", "sqlite:///runs.db"])
def test_a_server_without_an_address_is_refused_before_anything_is_done(copy, monkeypatch, address):
    monkeypatch.setenv(tracking.ADDRESS, address)
    path = copy / "params.yaml"
    path.write_text(path.read_text().replace("tracker: dvclive", "tracker: mlflow"))
    before = (copy / evaluate.METRICS).stat().st_mtime_ns
    with pytest.raises(StageError, match="MLFLOW_TRACKING_URI names no server: export"):
        evaluate.main()
    assert (copy / evaluate.METRICS).stat().st_mtime_ns == before


def test_a_library_that_is_missing_is_named(monkeypatch):
    monkeypatch.setenv(tracking.ADDRESS, "http://127.0.0.1:5000")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(StageError, match="not installed: uv sync --group tracking"):
        tracking.server()
