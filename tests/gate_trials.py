"""How often the gate is right, in a project's environment: print its answers in simulated worlds.

Models whose true figures are known are compared many times, each time on new examples.
"""

import json
import sys
from types import SimpleNamespace

import numpy as np
from delivery import gain, gate

MARGIN, EXAMPLES, TRIALS = 0.03, 2000, 100
SETTINGS = SimpleNamespace(seed=1, resamples=200, confidence=0.9, margin=MARGIN)
ACTIONS = 4


def error_trial(random, loss):
    """Two models whose errors have much in common; the challenger's RMSE is larger by a share."""
    shared = random.normal(0, 1, EXAMPLES)
    own = random.normal(0, 0.5, (2, EXAMPLES))
    rmse = np.sqrt(1.25)
    own[1] *= np.sqrt(((1 + loss) * rmse) ** 2 - 1) / 0.5
    ones = np.ones(EXAMPLES)
    terms = np.column_stack([ones, (shared + own[0]) ** 2, ones, (shared + own[1]) ** 2])
    return gain.bootstrap(terms, np.arange(EXAMPLES), gain.error_gain, SETTINGS)


def policy_trial(random, loss):
    """Two rankings that earn 1 per example; the challenger chooses a bad action now and then."""
    shown = random.integers(0, ACTIONS, EXAMPLES)
    best = random.integers(0, ACTIONS, EXAMPLES)
    reward = np.where(shown == best, 1.0, 0.0) + random.normal(0, 0.3, EXAMPLES)
    missed = random.random(EXAMPLES) < loss
    chosen = np.stack([best, np.where(missed, (best + 1) % ACTIONS, best)])
    weights = (chosen == shown) * ACTIONS
    terms = np.column_stack([weights[0], weights[0] * reward, weights[1], weights[1] * reward])
    return gain.bootstrap(terms, np.arange(EXAMPLES), gain.policy_gain, SETTINGS)


def count(trial, loss):
    """How often each decision fell, and how often the interval held the truth."""
    random = np.random.default_rng(7)
    gains = [trial(random, loss) for _ in range(TRIALS)]
    decisions = [gate.decide(found, MARGIN, "").decision for found in gains]
    covered = sum(found.low <= -loss <= found.high for found in gains)
    names = ("promote", "block", "needs a person")
    return {name: decisions.count(name) for name in names} | {"covered": covered}


if __name__ == "__main__":
    losses = {"better": -0.05, "equal": 0.0, "at the margin": MARGIN, "worse": 0.15}
    errors = {name: count(error_trial, loss) for name, loss in losses.items()}
    rankings = {name: count(policy_trial, max(loss, 0)) for name, loss in losses.items()}
    json.dump({"error": errors, "policy": rankings}, sys.stdout)
