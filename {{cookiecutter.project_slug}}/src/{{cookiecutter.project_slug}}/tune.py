"""Tune: try parameters of the model on the engine, and give the best to DVC as experiments.

`make tune`. A trial learns from the older part of what training sees and is judged by the newer;
the holdout stays unseen. Then `uv run dvc queue start` runs the best through the whole pipeline,
and `uv run dvc exp show` compares them.
"""

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xgboost

from . import engine, examples, exchange, params, stage, tables, train
from .params import Params
from .stage import StageError, progress

Choice = dict[str, int | float]


class Trial(NamedTuple):
    """The mean squared error of a choice of parameters on examples that it did not learn from."""

    error: float
    chosen: Choice


def main() -> None:
    """Try, print the trials from the best to the worst, and queue the best."""
    parameters = params.load()
    trials = run(parameters, candidates(parameters))
    for trial in trials:
        print(f"rmse {trial.error**0.5:.5f}  {_words(trial.chosen)}")
    for number, trial in enumerate(trials[: parameters.tune.queued], start=1):
        queue(f"tune-{number}", trial.chosen)


def candidates(parameters: Params) -> list[Choice]:
    """The parameters as they are, then as many random choices as tune.trials, all distinct."""
    space = {str(name): values for name, values in parameters.tune.space.items()}
    random = np.random.default_rng(parameters.tune.seed)
    found: list[Choice] = [{name: getattr(parameters.train, name) for name in space}]
    for _ in range(20 * parameters.tune.trials):  # a small space has fewer than were asked for
        choice = {name: values[random.integers(len(values))] for name, values in space.items()}
        if choice not in found and len(found) <= parameters.tune.trials:
            found.append(choice)
    return found


def run(parameters: Params, choices: list[Choice]) -> list[Trial]:
    """Run all trials on the engine; the best comes first."""
    folder, name = tables.OFFLINE.parent, tables.OFFLINE.name
    offline = exchange.publish(parameters.engine, folder, [name]) / name
    task = partial(attempt, parameters, offline)
    trials = engine.map_partitions(parameters.engine, task, choices)
    return sorted(progress(trials, total=len(choices), desc="tune", unit="trial"), key=_order)


def attempt(parameters: Params, offline: Path, chosen: Choice) -> Trial:
    """Fit in one process with the parameters that were chosen, and judge."""
    known, _ = examples.read(parameters.engine, offline).split(parameters.train.holdout)
    older, newer = known.split(parameters.train.holdout)
    section = parameters.train.model_copy(update=chosen)
    settings = train.settings_of(parameters.model_copy(update={"train": section}))
    matrix = xgboost.DMatrix(older.inputs, older.target)
    predicted = xgboost.train(settings, matrix, section.rounds).inplace_predict(newer.inputs)
    return Trial(float(((newer.target - predicted) ** 2).mean()), chosen)


def queue(name: str, chosen: Choice) -> None:
    """Give DVC an experiment; raises StageError in its words if it refuses."""
    settings = [f"--set-param=train.{key}={value}" for key, value in chosen.items()]
    command = [sys.executable, "-m", "dvc", "exp", "run", "--queue", "--name", name, *settings]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StageError(f"dvc does not queue {name}: {' '.join(done.stderr.split())}")
    print(f"queued {name}: {_words(chosen)}")


def _order(trial: Trial) -> tuple[float, str]:
    return trial.error, _words(trial.chosen)


def _words(chosen: Choice) -> str:
    return "  ".join(f"{name} {value}" for name, value in chosen.items())


if __name__ == "__main__":
    from . import tune  # by its own name, under which workers find what is sent to them

    stage.run(tune.main)
