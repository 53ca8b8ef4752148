"""May this model take the place of another? Both predict the same examples, a bootstrap decides.

Three answers, not two: on few examples "not worse" is a coin flip, and a person decides.
"""

import dataclasses
import importlib
import json
import math
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np

from . import DeliveryError, providers, revision, rivals
from .champion import MODELS, open_model

METRICS = "reports/metrics.json"


@dataclass(frozen=True)
class Gain:
    """What the challenger gains, as a share of the champion's figure; a loss is negative."""

    value: float
    low: float
    high: float
    examples: int


@dataclass(frozen=True)
class Verdict:
    """What the gate says, and why; a change with a broken floor is refused."""

    decision: Literal["promote", "block", "needs a person"]
    reason: str
    broken_floors: tuple[str, ...] = ()
    gain: Gain | None = None

    def __str__(self) -> str:
        """One line."""
        return f"{self.decision}: {'; '.join([*self.broken_floors, self.reason])}"


def show(arguments: list[str]) -> int:
    """Say whether this model may take the other's place: promote, block, or needs a person."""
    others, _ = rivals.find(providers.context())
    verdict = judge(others)
    print(verdict)
    return 1 if verdict.broken_floors else 0


def judge(others: dict[str, str]) -> Verdict:
    """The verdict on the model that lies here, against that of the last of some commits by name."""
    settings = load("params").load().gate
    broken = tuple(find_broken(settings.floors, read_metrics()))
    name, commit = [*others.items(), ("main", None)][max(0, len(others) - 1)]
    try:
        verdict = _compare(commit, name, settings)
    except DeliveryError as hindrance:
        verdict = Verdict("needs a person", f"no comparison with {name}: {hindrance}")
    if broken:
        return dataclasses.replace(verdict, decision="block", broken_floors=broken)
    return verdict


def read_metrics() -> dict[str, Any]:
    """The metrics of this commit.

    Raises:
        DeliveryError: there are none, or they cannot be read.
    """
    text = revision.read(METRICS)
    if text is None:
        raise DeliveryError(f"{METRICS} is missing: `make reproduce`, and commit it")
    try:
        metrics = json.loads(text)
        figures = metrics["error"].values()
        if figures and all(figure.keys() >= {"value", "low", "high"} for figure in figures):
            return metrics
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise DeliveryError(f"{METRICS} is damaged: `make reproduce`, and commit it")


def find_broken(floors: dict[str, float], metrics: dict[str, Any]) -> list[str]:
    """The floors that are broken, in words; those of a group that the task lacks do not apply.

    Raises:
        DeliveryError: a floor names no metric.
    """
    broken = []
    for name, floor in floors.items():
        group, _, metric = name.partition(".")
        if group == "policy" and group not in metrics:  # nothing to choose from
            continue
        if metric not in metrics.get(group, {}):
            raise DeliveryError(f"params.yaml: gate.floors names {name}, no metric of {METRICS}", 2)
        value = metrics[group][metric]["value"]
        if value is None or value < floor:
            broken.append(f"{name} is {value}, below its floor {floor}")
    return broken


def _compare(champion: str | None, name: str, settings: Any) -> Verdict:
    there = revision.outputs(champion).get(MODELS) if champion else None
    if champion is None or there is None:
        return Verdict("promote", f"{name} has no model yet")
    if there == revision.outputs().get(MODELS):
        return Verdict("promote", f"the model is that of {name}, byte for byte")
    with open_model(champion) as (folder, remark):
        difference = _differing_inputs(folder)
        if difference:
            return Verdict("needs a person", f"the features are others than {name}'s: {difference}")
        try:
            gain, figure = measure(folder, settings)
        except (load("errors").StageError, OSError, ValueError) as fault:
            raise DeliveryError(str(fault)) from None
    verdict = decide(gain, settings.margin, f"{figure} against {name}")
    reason = f"{verdict.reason} ({name}: {remark})" if remark else verdict.reason
    return dataclasses.replace(verdict, reason=reason)


def _differing_inputs(folder: Path) -> str:
    try:
        files = (Path(models, "lineage.json").read_text() for models in (MODELS, folder))
        here, there = (json.loads(file)["inputs"] for file in files)
    except (OSError, ValueError, KeyError):
        raise DeliveryError("a model is missing or damaged: `dvc pull`") from None
    names = (name for name in here | there if here.get(name, 0) != there.get(name, 0))
    return ", ".join(names) or ("" if list(here) == list(there) else "their order")


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
    chosen = policy.choose(model.Model.open(folder), model.open_baseline(folder), holdout)
    return policy.terms(chosen, holdout)[policy.MODEL]


def _error_terms(folder: Path, holdout: Any) -> np.ndarray:
    error = load("model").Model.open(folder).predict(holdout.inputs) - holdout.target
    return np.column_stack([np.ones(len(error)), error**2])


def decide(gain: Gain, margin: float, figure: str) -> Verdict:
    """Promote what surely loses no more than the margin, block what surely loses more."""
    ends = (f"{100 * end:+.1f} %" for end in (gain.value, gain.low, gain.high))
    found = "{}: {} ({} to {}) on the same {:,} examples".format(figure, *ends, gain.examples)
    loss = f"a loss of more than {100 * margin:g} %"
    if gain.low > -margin:
        return Verdict("promote", f"{found}; {loss} can be ruled out", gain=gain)
    if gain.high < -margin:
        return Verdict("block", f"{found}; {loss} is sure", gain=gain)
    needed = examples_that_decide(gain, margin)
    told = f"about {needed:,}" if needed else "no number of"
    reason = f"{found}; {loss} is possible, {told} examples would decide"
    return Verdict("needs a person", reason, gain=gain)


def examples_that_decide(gain: Gain, margin: float) -> int | None:
    """Examples after which the interval, narrower as their root grows, lies beside the margin."""
    distance = gain.value + margin
    reach = gain.value - gain.low if distance > 0 else gain.high - gain.value
    if not distance or not math.isfinite(reach):
        return None
    needed = gain.examples * (reach / distance) ** 2
    digits = 10 ** max(0, int(math.log10(needed)) - 1)
    return math.ceil(needed / digits) * digits


def load(module: str) -> ModuleType:
    """A module of the package that makes the model."""
    name = tomllib.loads(Path("pyproject.toml").read_text())["project"]["name"]
    return importlib.import_module(f"{name}.{module}")
