"""The value of a policy, against the truth that only the simulator knows."""

import dataclasses
import datetime

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from .. import evaluate, policy, simulate
from ..examples import Examples
from ..params import Evaluate, Simulate
from .conftest import ROOT

WORLD = Simulate(
    seed=3,
    start=datetime.date(2026, 1, 1),
    players=2000,
    experiment_start=datetime.date(2026, 1, 2),
    exposures_per_day=4000,
)
CUTOFF = datetime.datetime(2026, 1, 18)


@pytest.fixture(scope="module")
def world():
    """Exposures as examples, and the true mean revenue of every promotion in each of them."""
    promotions = pd.read_csv(ROOT / "data" / "promotions.csv")
    table = simulate.tables(WORLD, CUTOFF, promotions)["exposures"]
    days = (CUTOFF.date() - WORLD.start).days
    truth = simulate.expected_revenue(simulate.population(WORLD, days), promotions)
    players = table["player_id"].to_numpy()
    rows = Examples(
        players,
        table["revenue"].to_numpy(),
        np.empty((len(table), 0), np.float32),
        table["promotion_id"].to_numpy(),
        table["propensity"].to_numpy(),
        {},
    )
    return rows, truth[players], promotions["promotion_id"].to_numpy()


def skewed(rows, truth, shares):
    """The same experiment as if promotions had been shown with unequal probabilities."""
    keep = np.random.default_rng(5).random(len(rows)) < shares[rows.action_id - 1] / shares.max()
    propensity = (shares / shares.sum())[rows.action_id - 1]
    return dataclasses.replace(rows, propensity=propensity).take(keep), truth[keep]


def estimate(rows, chosen):
    """The value of each policy with its 99 % interval."""
    terms = policy.terms(chosen, rows) | policy.order_terms(np.zeros(len(rows)), rows)
    one = np.ones(len(rows))
    terms |= evaluate.error_terms(rows.target, one, one)
    settings = Evaluate(resamples=300, confidence=0.99, seed=1)
    return evaluate.measure(terms, rows, settings)["policy"]


@pytest.mark.parametrize("equal", [True, False])
def test_the_estimate_agrees_with_the_truth(world, equal):
    rows, truth, ids = world
    if not equal:
        rows, truth = skewed(rows, truth, np.linspace(1, 4, len(ids)))
    best = truth.argmax(axis=1)
    single = truth.mean(axis=0).argmax()
    chosen = {
        policy.RANDOM: rows.action_id,
        policy.BEST_SINGLE: np.full(len(rows), ids[single]),
        policy.MODEL: ids[best],
    }
    true_values = {
        policy.RANDOM: truth.mean(),
        policy.BEST_SINGLE: truth[:, single].mean(),
        policy.MODEL: truth.max(axis=1).mean(),
    }
    estimated = estimate(rows, chosen)
    for name, true_value in true_values.items():
        assert estimated[name]["low"] < true_value < estimated[name]["high"], name
    assert estimated["model_over_best_single"]["low"] > 0


def correlation(expected, rows, ids):
    """What came of the examples, against the order of what is expected of each action (n, m)."""
    place = policy.places(ids[np.argsort(-expected, axis=1)], rows)
    sums = policy.order_terms(place, rows)[policy.ORDER].sum(axis=0)
    return policy.rank_correlation(sums), spearmanr(-place, rows.target)[0]


def test_the_order_is_judged_by_spearmans_correlation(world):
    rows, truth, ids = world
    found, expected = correlation(truth, rows, ids)
    assert found == pytest.approx(expected)
    assert found > 0.1
    assert correlation(-truth, rows, ids)[0] == pytest.approx(-found, abs=0.02)
    anyhow = np.random.default_rng(2).random(truth.shape)
    assert correlation(anyhow, rows, ids)[0] == pytest.approx(0, abs=0.02)


def test_what_was_shown_more_often_counts_no_more_for_the_order(world):
    rows, truth, ids = world
    fair, _ = correlation(truth, rows, ids)
    kept, known = skewed(rows, truth, np.where(ids == 7, 20.0, 1.0))  # it is cheap: all buy it
    weighted, plain = correlation(known, kept, ids)
    assert abs(weighted - fair) < 0.025 < abs(plain - fair)


@pytest.mark.parametrize("target", [0.0, 7.0])
def test_where_nothing_differs_there_is_no_order(target):
    ids, one = np.arange(30), np.ones(30)
    rows = Examples(ids, target * one, np.empty((30, 0)), ids, one, {})
    terms = policy.order_terms(ids / 30, rows)[policy.ORDER]
    with np.errstate(all="raise"):
        assert np.isnan(policy.rank_correlation(terms[:7].sum(axis=0)))


def test_a_policy_that_nobody_tried_has_no_value():
    with np.errstate(all="raise"):
        assert np.isnan(policy.value(np.zeros((1, 2))))[0]
