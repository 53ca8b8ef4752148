"""May this model take the place of another? Both predict the same examples, a bootstrap decides.

Three answers, not two: on few examples "not worse" is a coin flip, and a person decides.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from . import DeliveryError, providers, revision, rivals
from .champion import MODELS, open_model
from .gain import Gain, examples_that_decide, measure
from .package import load

METRICS = "reports/metrics.json"


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
    told = f"about {needed:,} examples would decide" if needed else "it is too close to the margin"
    reason = f"{found}; {loss} is possible, {told}"
    return Verdict("needs a person", reason, gain=gain)
