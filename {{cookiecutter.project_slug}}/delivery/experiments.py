"""DVC's experiments beside this commit: those that wait are run, then all are compared."""

import html
import json
import math
import os
import subprocess
import sys
from pathlib import Path

from . import DeliveryError, facts, page, parallel
from .facts import Facts
from .parallel import Axis

PAGE = Path("reports/experiments.html")
NOW = "this commit"
# of reports/metrics.json, those that are there; and whether more of it is better
FIGURES = {
    "policy.model": True,
    "policy.model_over_best_single": True,
    "error.model_rmse": False,
    "error.model_mae": False,
}
DECIDES = {"policy": "policy.model", "error": "error.model_rmse"}
DVC = (sys.executable, "-m", "dvc")
STYLE = """<style>
svg { width: 100%; font: 12px system-ui, sans-serif; }
text { text-anchor: middle; fill: #202124; font-weight: 600; } .section { fill: #5f6368; }
.tick { text-anchor: end; font-weight: 400; paint-order: stroke; stroke: #fff; stroke-width: 4; }
.axis { stroke: #9aa0a6; } .axis, text { pointer-events: none; }
.run { fill: none; stroke-width: 2.5; }
.wide { overflow-x: auto; } td, th { white-space: nowrap; }
svg:hover .run { opacity: .2; } svg .run:hover { opacity: 1; stroke-width: 5; }
</style>"""
NOTE = (
    "The dashed line is this commit; the bluer a line, the better is what the gate decides by. In "
    "brackets the interval: what lies within another's may be chance. `make adopt "
    "EXPERIMENT=name` makes a branch of one, and its review compares both on the same examples."
)
ELSEWHERE = "An experiment with a * has other data than this commit, so its figures compare less."


def compare(arguments: list[str]) -> int:
    """Run the experiments that wait, and compare all with this commit: a table and a page."""
    failed = run()
    sides = [Facts.read(NOW, "HEAD"), *(Facts.read(*named) for named in listed().items())]
    if len(sides) == 1 and not failed:
        print("no experiments yet: `make tune` queues some; or, by hand,")
        print("uv run dvc exp run --queue --name deeper --set-param train.depth=6")
        return 0
    lines = write(ordered(sides))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(map(str.ljust, line, widths)).rstrip())
    print(f"{PAGE}: {len(sides) - 1} experiments beside this commit")
    if failed:
        raise DeliveryError(
            f"{', '.join(failed)} failed: `uv run dvc queue logs NAME` says why, `uv run dvc queue "
            "remove --failed` forgets"
        )
    return 0


def run() -> list[str]:
    """Run what is queued, each in a folder of its own with its own code; those that failed."""
    from dvc.repo import Repo  # only here: it takes as long as all the rest

    with Repo() as repository:
        queue = repository.experiments.celery_queue
        if not any(queue.iter_queued()):
            return []
        before = {done.entry.stash_rev for done in queue.iter_failed()}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    variables = os.environ | {"PATH": path, "PYTHONPATH": "src"}  # not this folder's package
    subprocess.run([*DVC, "exp", "run", "--run-all"], env=variables)  # 0 even if all of them fail
    with Repo() as repository:
        failed = [done.entry for done in repository.experiments.celery_queue.iter_failed()]
    return [entry.name for entry in failed if entry.stash_rev not in before]


def listed() -> dict[str, str]:
    """The commit of each experiment by its name, whichever commit it began from."""
    from dvc.repo import Repo

    found: dict[str, str] = {}
    with Repo() as repository:
        for start, named in repository.experiments.ls(all_commits=True).items():
            for name, commit in named:  # the name is taken once for each commit
                found[f"{name}@{start[:7]}" if name in found else name] = commit
    return found


def ordered(sides: list[Facts]) -> list[Facts]:
    """This commit, then the experiments by what the gate decides by, the best first."""
    first, *others = sides
    name = deciding(first)
    sign = -1 if FIGURES[name] else 1
    return [first, *sorted(others, key=lambda side: (sign * figure(side, name, sign), side.name))]


def deciding(side: Facts) -> str:
    """The metric that the gate of a commit decides by."""
    chosen = DECIDES.get(json.loads(side.parameters.get("gate.metric", '""')), "")
    return chosen if chosen in side.metrics else DECIDES["error"]  # as the gate, without a policy


def figure(side: Facts, name: str, missing: float = 1) -> float:
    """A metric; where there is none, infinitely much of the sign of `missing`."""
    value = side.metrics.get(name, {}).get("value")
    return math.copysign(math.inf, missing) if value is None else value


def varied(sides: list[Facts]) -> list[str]:
    """The parameters that are not the same in all."""
    names = dict.fromkeys(name for side in sides for name in side.parameters)
    return [name for name in names if len({side.parameters.get(name) for side in sides}) > 1]


def write(sides: list[Facts]) -> list[list[str]]:
    """Write the page; the rows of its table, the heads first."""
    parameters = varied(sides)
    figures = [name for name in FIGURES if name in sides[0].metrics]
    rows = [["experiment", *parameters, *figures]]
    for side in sides:
        mark = "" if side.data == sides[0].data else " *"
        values = [side.parameters.get(name, "-").strip('"') for name in parameters]
        measured = [facts.shown(side.metrics.get(name)) for name in figures]
        rows.append([f"{side.name}{mark}", *values, *measured])
    axes = [Axis(name, [_read(side.parameters.get(name)) for side in sides]) for name in parameters]
    axes += [Axis(name, [_known(figure(side, name)) for side in sides]) for name in figures]
    name = deciding(sides[0])
    worth = [figure(side, name) * (1 if FIGURES[name] else -1) for side in sides]
    colours = parallel.shades([value if math.isfinite(value) else None for value in worth])
    drawn = parallel.draw([side.name for side in sides], axes, colours)
    notes = [NOTE, ELSEWHERE] if any(row[0].endswith(" *") for row in rows) else [NOTE]
    texts = page.from_markdown("\n\n".join(notes))
    blocks = [STYLE, "<h2>Experiments</h2>", drawn, texts, _table(rows, colours)]
    page.write(PAGE, "Experiments", blocks)
    return rows


def _read(text: str | None) -> float | str:
    value = json.loads(text or '"-"')
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number else str(value)


def _known(value: float) -> float | str:
    return value if math.isfinite(value) else "?"


def _table(rows: list[list[str]], colours: list[str]) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in rows[0])
    lines = [f"<tr>{head}</tr>"]
    for row, colour in zip(rows[1:], colours, strict=True):
        first, *others = map(html.escape, row)
        cells = "".join(f"<td>{cell}</td>" for cell in others)
        lines.append(f'<tr><td><span style="color: {colour}">■</span> {first}</td>{cells}</tr>')
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'
