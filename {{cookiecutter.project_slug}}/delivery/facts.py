"""What a commit says of its model, its parameters and its data, and tables that compare it."""

import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import yaml

from . import revision

METRICS, DATA, SLICES = "reports/metrics.json", "reports/data.json", "reports/plots/slices.csv"
GROUPS = ("policy", "error")  # what business asks comes first


@dataclass(frozen=True)
class Facts:
    """What one commit says; empty where it says nothing, or nothing that can be read.

    Attributes:
        metrics: name → value, low and high; without the ends where there is no interval.
        slices: slice → the same, and examples, of the metric `sliced`.
        parameters: name with dots → value, as JSON.
        data: table → rows, columns and times.
    """

    name: str
    metrics: dict[str, dict[str, float]]
    slices: dict[str, dict[str, float]]
    sliced: str
    parameters: dict[str, str]
    data: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, name: str, commit: str | None) -> "Facts":
        """The facts of a commit, of the working tree if it is None."""
        metrics, data = (_json(revision.read(path, commit)) for path in (METRICS, DATA))
        parameters = _flat(_yaml(revision.read("params.yaml", commit)))
        return cls(name, _metrics(metrics), *_slices(commit), parameters, data)


def metrics_table(sides: list[Facts]) -> str:
    """Every metric with its interval; what changed in comparison with the first side."""
    *_, new = sides
    names = dict.fromkeys([*new.metrics, *(name for side in sides for name in side.metrics)])
    return _table(
        ["metric", *(side.name for side in sides), "change"],
        ([f"`{n}`", *(shown(s.metrics.get(n)) for s in sides), _change(sides, n)] for n in names),
    )


def slices_table(sides: list[Facts]) -> str:
    """The model's figure for each slice."""
    *_, new = sides
    rows = (
        [
            f"`{_cell(name)}`",
            f"{row['examples']:,.0f}",
            *(shown(s.slices.get(name)) for s in sides),
        ]
        for name, row in new.slices.items()
    )
    return _table(["slice", "examples", *(side.name for side in sides)], rows)


def parameters_table(old: Facts, new: Facts) -> str:
    """The parameters that differ; empty if none does."""
    both = dict.fromkeys([*old.parameters, *new.parameters])
    changed = [n for n in both if old.parameters.get(n) != new.parameters.get(n)]
    cells = (
        [f"`{_cell(n)}`", *(_code(side.parameters.get(n)) for side in (old, new))] for n in changed
    )
    return _table(["parameter", old.name, new.name], cells) if changed else ""


def data_table(old: Facts, new: Facts) -> str:
    """Rows, columns and times of each table that differs; empty if none does."""
    both = dict.fromkeys([*old.data, *new.data])
    changed = [name for name in both if old.data.get(name) != new.data.get(name)]
    rows = ([f"`{name}`", *_data(old.data.get(name), new.data.get(name))] for name in changed)
    return _table(["table", "rows", "columns", "from", "until"], rows) if changed else ""


def _data(old: dict[str, Any] | None, new: dict[str, Any] | None) -> list[str]:
    if new is None:
        return ["gone", "", "", ""]
    then = old or {"rows": 0, "columns": {}, "times": {}}
    added = [f"+ `{_cell(column)}`" for column in new["columns"] if column not in then["columns"]]
    gone = [f"- `{_cell(column)}`" for column in then["columns"] if column not in new["columns"]]
    kinds = [
        f"`{_cell(column)}` is {kind}"
        for column, kind in new["columns"].items()
        if then["columns"].get(column, kind) != kind
    ]
    changes = ", ".join(added + gone + kinds) if old else "a new table"
    ends = [_ends(then["times"], end, pick) for end, pick in ((0, min), (1, max))]
    now = [_ends(new["times"], end, pick) for end, pick in ((0, min), (1, max))]
    times = [b if a in ("", b) else f"{a} → {b}" for a, b in zip(ends, now, strict=True)]
    return [f"{new['rows']:,} ({new['rows'] - then['rows']:+,})", changes or "the same", *times]


def _ends(times: dict[str, list[str | None]], end: int, pick: Any) -> str:
    known = [pair[end] for pair in times.values() if pair[end]]
    return str(pick(known))[:10] if known else ""


def _change(sides: list[Facts], name: str) -> str:
    old, new = (side.metrics.get(name) for side in (sides[0], sides[-1]))
    if len(sides) < 2 or old is None or new is None:
        return "" if len(sides) < 2 or not sides[0].metrics else "new" if old is None else "gone"
    before, after = old["value"], new["value"]
    if before is None or after is None:
        return "unknown"
    if before == after:
        return "="
    low, high = ((old.get(end) or before) for end in ("low", "high"))
    about_zero = low <= 0 <= high  # a share of it would be any number
    text = f"{after - before:+.3g}" if about_zero else f"{(after - before) / abs(before):+.1%}"
    outside = not low <= after <= high
    return f"**{text}**" if outside and "low" in old else text


def shown(metric: dict[str, float] | None) -> str:
    """A metric as it is written: its value, and its interval in brackets."""
    if metric is None:
        return "-"
    known = {end: _number(value) for end, value in metric.items()}
    return "{value} ({low} to {high})".format(**known) if "low" in known else known["value"]


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:#,.3g}"


def _metrics(metrics: dict[str, Any]) -> dict[str, dict[str, float]]:
    ordered = [*(group for group in GROUPS if group in metrics), *metrics]
    found: dict[str, dict[str, float]] = {}
    for group in dict.fromkeys(ordered):
        values = (
            metrics[group] if isinstance(metrics[group], dict) else {"": {"value": metrics[group]}}
        )
        found |= {f"{group}.{name}".strip("."): metric for name, metric in values.items()}
    return found


def _slices(commit: str | None) -> tuple[dict[str, dict[str, float]], str]:
    try:
        frame = pd.read_csv(io.StringIO(revision.read(SLICES, commit) or "")).set_index("slice")
        sliced = "model" if "model" in frame else "model_rmse"
        columns = {sliced: "value", f"{sliced}_low": "low", f"{sliced}_high": "high"}
        rows = frame.rename(columns=columns)[["examples", *columns.values()]].to_dict("index")
        return rows, "policy.model" if sliced == "model" else f"error.{sliced}"
    except (ValueError, KeyError):
        return {}, ""


def _flat(value: Any, name: str = "") -> dict[str, str]:
    if not isinstance(value, dict):
        return {name: json.dumps(value, default=str)}
    items = (_flat(inner, f"{name}.{key}".strip(".")) for key, inner in value.items())
    return {key: text for item in items for key, text in item.items()}


def _json(text: str | None) -> dict[str, Any]:
    try:
        content = json.loads(text or "")
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _yaml(text: str | None) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text or "")
    except yaml.YAMLError:
        return {}
    return content if isinstance(content, dict) else {}


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _code(text: str | None) -> str:
    return "-" if text is None else f"`{_cell(text)}`"


def _cell(text: str) -> str:
    """Text that neither ends a cell nor its code."""
    return " ".join(str(text).split()).replace("|", "¦").replace("`", "'")
