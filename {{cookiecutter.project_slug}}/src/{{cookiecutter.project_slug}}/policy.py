"""What showing the best-ranked action would earn, estimated from actions that were shown at random.

Self-normalised inverse propensity weighting: an example counts for a policy when the policy would
have chosen what was shown, weighted by one over the probability with which it was shown.
Source: Swaminathan and Joachims, "The Self-Normalized Estimator for Counterfactual Learning", 2015.
"""

import numpy as np

from .examples import Examples
from .model import Baseline, Model

RANDOM, BEST_SINGLE, MODEL = "random", "best_single", "model"


def choose(model: Model, baseline: Baseline, holdout: Examples) -> dict[str, np.ndarray]:
    """The action (n,) that each policy would show in each example; for random, what was shown."""
    entities = holdout.inputs[:, : -baseline.inputs.shape[1]]
    ranked = model.predict_all(entities, baseline.inputs).argmax(axis=1)
    best = baseline.action_ids[np.argmax(baseline.means)]
    return {
        RANDOM: holdout.action_id,
        BEST_SINGLE: np.full(len(holdout), best),
        MODEL: baseline.action_ids[ranked],
    }


def terms(chosen: dict[str, np.ndarray], holdout: Examples) -> dict[str, np.ndarray]:
    """Weights and weighted rewards (n, 2) of each policy; its value is the ratio of their sums."""
    result = {}
    for name, actions in chosen.items():
        weight = (actions == holdout.action_id) / holdout.propensity
        if name == RANDOM:  # every action with the same probability, whatever the experiment did
            weight = 1 / holdout.propensity
        result[name] = np.column_stack([weight, weight * holdout.target])
    return result


def value(sums: np.ndarray) -> np.ndarray:
    """Value of a policy per example, from sums (..., 2) of its terms; NaN where none counts."""
    return ratio(sums[..., 1], sums[..., 0])


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Quotients; NaN where nothing is below the line."""
    return np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below != 0)
