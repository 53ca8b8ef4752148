"""What one model gains over another on the same examples, by a paired bootstrap."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .champion import MODELS
from .package import load

FAR = 10  # an interval that would have to be ten times narrower, by a hundred times the examples


@dataclass(frozen=True)
class Gain:
    """What the challenger gains, as a share of the champion's figure; a loss is negative."""

    value: float
    low: float
    high: float
    examples: int


def measure(champion: Path, settings: Any) -> tuple[Gain, str]:
    """The gain of the model that lies here over that of a folder, and what it is a gain in."""
    examples, parameters = load("examples"), load("params").load()
    _, holdout = examples.read(parameters.engine).split(parameters.train.holdout)
    choosing = settings.metric == "policy" and load("contract").TASK.choice is not None
    terms, figure, name = (
        (_policy_terms, policy_gain, "the ranking's worth")
        if choosing
        else (_error_terms, error_gain, "the decrease of the error")
    )
    both = np.column_stack([terms(folder, holdout) for folder in (champion, Path(MODELS))])
    return bootstrap(both, holdout.entity_id, figure, settings), name


def bootstrap(terms: np.ndarray, entity_id: np.ndarray, figure: Callable, settings: Any) -> Gain:
    """The gain and its interval: terms (n, 4), the champion's two first; entities are drawn."""
    _, entity = np.unique(entity_id, return_inverse=True)
    sums = np.stack([np.bincount(entity, column) for column in terms.T], axis=1)
    drawn = figure(load("evaluate").resample(sums, settings))
    tail = (1 - settings.confidence) / 2
    low, high = np.quantile(drawn[np.isfinite(drawn)], [tail, 1 - tail])
    return Gain(float(figure(sums.sum(axis=0))), float(low), float(high), len(terms))


def policy_gain(sums: np.ndarray) -> np.ndarray:
    """The share that the challenger's ranking earns more; sums (..., 4) of weights and rewards."""
    return sums[..., 3] / sums[..., 2] / (sums[..., 1] / sums[..., 0]) - 1


def error_gain(sums: np.ndarray) -> np.ndarray:
    """The share by which the RMSE is less; sums (..., 4) of ones and squared errors."""
    return 1 - np.sqrt(sums[..., 3] / sums[..., 1])


def _policy_terms(folder: Path, holdout: Any) -> np.ndarray:
    model, policy = load("model"), load("policy")
    baseline = model.open_baseline(folder)
    best = policy.rank(model.Model.open(folder), baseline, holdout)[:, 0]
    return policy.terms(policy.choose(best, baseline, holdout), holdout)[policy.MODEL]


def _error_terms(folder: Path, holdout: Any) -> np.ndarray:
    error = load("model").Model.open(folder).predict(holdout.inputs) - holdout.target
    return np.column_stack([np.ones(len(error)), error**2])


def examples_that_decide(gain: Gain, margin: float) -> int | None:
    """Examples after which the interval, narrower as their root grows, lies beside the margin.

    None if that is out of reach.
    """
    distance = gain.value + margin
    reach = gain.value - gain.low if distance > 0 else gain.high - gain.value
    if abs(distance) * FAR <= reach:
        return None
    needed = gain.examples * (reach / distance) ** 2
    digits = 10 ** max(0, int(math.log10(needed)) - 1)
    return math.ceil(round(needed / digits, 6)) * digits
