"""Stage evaluate: figures by hand, intervals that cover, files that DVC can plot."""

import json

import numpy as np
import pandas as pd
import pytest

from .. import evaluate, model
from ..examples import Examples
from ..params import Evaluate
from ..stage import StageError

SETTINGS = Evaluate(resamples=200, confidence=0.9, seed=1)


def made(target, predicted, naive, entities=None):
    """Terms and examples of made-up predictions."""
    count = len(target)
    ids = np.arange(count) if entities is None else entities
    none = np.empty((count, 0), np.float32)
    rows = Examples(ids, target, none, np.zeros(count, int), np.ones(count), {})
    return evaluate.error_terms(target, predicted, naive), rows


def test_errors_by_hand():
    terms, rows = made(np.array([0.0, 2, 4]), np.array([1.0, 2, 3]), np.array([2.0, 2, 2]))
    errors = evaluate.measure(terms, rows, SETTINGS)["error"]
    assert errors["model_rmse"]["value"] == pytest.approx((2 / 3) ** 0.5, rel=1e-5)
    assert errors["model_mae"]["value"] == pytest.approx(2 / 3, rel=1e-5)
    assert errors["model_r2"]["value"] == pytest.approx(0.75)
    assert errors["baseline_r2"]["value"] == pytest.approx(0)
    assert errors["predicted_over_observed"]["value"] == pytest.approx(1)


def test_intervals_cover_the_truth_as_often_as_they_say():
    covered = 0
    for trial in range(100):
        error = np.random.default_rng(trial).normal(0, 2, 300)
        terms, rows = made(np.zeros(300), error, error)
        interval = evaluate.measure(terms, rows, SETTINGS)["error"]["model_mae"]
        covered += interval["low"] < 2 * (2 / np.pi) ** 0.5 < interval["high"]
    assert 80 <= covered <= 98


def test_examples_of_one_entity_count_together():
    """Each outcome ten times over is no more evidence when it is the same player's."""
    error = np.repeat(np.random.default_rng(0).normal(0, 1, 100), 10)
    apart = evaluate.measure(*made(np.zeros(1000), error, error), SETTINGS)["error"]["model_mae"]
    entities = np.repeat(np.arange(100), 10)
    together = evaluate.measure(*made(np.zeros(1000), error, error, entities), SETTINGS)
    together = together["error"]["model_mae"]
    assert together["high"] - together["low"] > 2 * (apart["high"] - apart["low"])


def test_the_files_of_a_run(finished):
    metrics = json.loads((finished / "reports" / "metrics.json").read_text())
    assert set(metrics) == {"examples", "entities", "error", "policy"}
    for group in ("error", "policy"):
        for interval in metrics[group].values():
            assert interval["low"] <= interval["value"] <= interval["high"]
    plots = {path.stem: pd.read_csv(path) for path in (finished / "reports" / "plots").iterdir()}
    assert set(plots) == {"calibration", "choices", "importance", "slices"}
    assert plots["calibration"]["examples"].sum() == metrics["examples"]
    assert plots["importance"]["share"].sum() == pytest.approx(1, abs=1e-4)
    assert plots["choices"].drop(columns="action_id").sum().tolist() == pytest.approx(
        [1, 1, 1], abs=1e-4
    )
    countries = plots["slices"][plots["slices"]["slice"].str.startswith("country=")]
    assert countries["examples"].sum() == metrics["examples"]


def test_a_second_run_gives_the_same_bytes(copy):
    before = {path: path.read_bytes() for path in (copy / "reports").rglob("*") if path.is_file()}
    evaluate.main()
    assert before == {p: p.read_bytes() for p in (copy / "reports").rglob("*") if p.is_file()}


@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_bytes(b"damaged")])
def test_a_bad_model_is_named(copy, damage):
    damage(model.FOLDER / model.ONNX)
    with pytest.raises(StageError, match="models/ cannot be read"):
        evaluate.main()
