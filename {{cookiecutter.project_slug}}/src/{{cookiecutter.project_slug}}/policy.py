"""What a ranking is worth, estimated from actions that were shown at random.

Self-normalised inverse propensity weighting: an example counts for a policy when the policy would
have chosen what was shown, weighted by one over the probability with which it was shown.
Source: Swaminathan and Joachims, "The Self-Normalized Estimator for Counterfactual Learning", 2015.

The value of a policy uses the few examples in which the best action was shown, and revenue, whose
tail is long. Spearman's correlation of place and outcome uses all of them, and only their order.
"""

import numpy as np
import pandas as pd

from .examples import Examples
from .model import Baseline, Model

RANDOM, BEST_SINGLE, MODEL = "random", "best_single", "model"
ORDER = "order"


def rank(model: Model, baseline: Baseline, holdout: Examples) -> np.ndarray:
    """The actions (n, m) in each example, the best first."""
    entities = holdout.inputs[:, : -baseline.inputs.shape[1]]
    expected = model.predict_all(entities, baseline.inputs)
    return baseline.action_ids[np.argsort(-expected, axis=1, kind="stable")]


def choose(best: np.ndarray, baseline: Baseline, holdout: Examples) -> dict[str, np.ndarray]:
    """The action (n,) of each policy: the model shows the best (n,), random what was shown."""
    single = baseline.action_ids[np.argmax(baseline.means)]
    shown = holdout.action_id
    return {RANDOM: shown, BEST_SINGLE: np.full(len(shown), single), MODEL: best}


def places(ranking: np.ndarray, holdout: Examples) -> np.ndarray:
    """Where in the ranking (n, m) that lies which was shown: the share (n,) that is before it."""
    return (ranking == holdout.action_id[:, None]).argmax(axis=1) / ranking.shape[1]


def terms(chosen: dict[str, np.ndarray], holdout: Examples) -> dict[str, np.ndarray]:
    """Weights and weighted rewards (n, 2) of each policy; its value is the ratio of their sums."""
    result = {}
    for name, actions in chosen.items():
        weight = (actions == holdout.action_id) / holdout.propensity
        if name == RANDOM:  # every action with the same probability, whatever the experiment did
            weight = 1 / holdout.propensity
        result[name] = np.column_stack([weight, weight * holdout.target])
    return result


def order_terms(place: np.ndarray, holdout: Examples) -> dict[str, np.ndarray]:
    """Weighted moments (n, 6) of the ranks of places (n,) and outcomes, for `rank_correlation`."""
    weight, x, y = 1 / holdout.propensity, _ranks(-place), _ranks(holdout.target)
    moments = [np.ones(len(place)), x, y, x * x, y * y, x * y]
    return {ORDER: weight[:, None] * np.column_stack(moments)}


def _ranks(values: np.ndarray) -> np.ndarray:
    """From -0.5 to 0.5; equal values share their mean."""
    return pd.Series(values).rank(pct=True).to_numpy() - 0.5


def rank_correlation(sums: np.ndarray) -> np.ndarray:
    """Spearman's correlation, from sums (..., 6): 1 if more comes of all that is ranked higher."""
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    # rounded, because what is left of the variance of a constant depends on the machine
    spread = (xx - x * x / n).round(9) * (yy - y * y / n).round(9)
    return ratio(xy - x * y / n, np.sqrt(spread))


def value(sums: np.ndarray) -> np.ndarray:
    """Value of a policy per example, from sums (..., 2) of its terms; NaN where none counts."""
    return ratio(sums[..., 1], sums[..., 0])


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Quotients; NaN where nothing is below the line."""
    return np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below != 0)
