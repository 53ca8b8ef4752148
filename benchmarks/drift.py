"""How often the monitor is wrong: false alarms where nothing drifted, and drifts that it misses.

`PROJECT/.venv/bin/python benchmarks/drift.py [WORLDS [DRIFTING]]` makes so many worlds where
nothing drifted (300) and so many of each drift (10), each with its own seed: players, promotions,
a model trained up to the release, and the log of three weeks. PROJECT is a default project.
"""

import datetime
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import yaml
from promotion_ranker import collect, evaluate, features, monitor, params, train
from promotion_ranker.tests import log
from promotion_ranker.tests.conftest import ROOT, make_project

RELEASE = datetime.date(2026, 5, 16)
DAYS = (7, 14, 21, 28)  # since the release
LINES = (500, 1000, 2000, 4000, 9100)  # of the last seven days, about; the last: all there are
collect_anew = collect.snapshot
KINDS = get_args(params.Drift.model_fields["kind"].annotation)
COLLECT = {"until": str(RELEASE - datetime.timedelta(days=1))}
# where nothing drifted a smaller world will do: there are three hundred of them
SMALL = {
    "players": 6000,
    "start": "2026-02-01",
    "experiment_start": "2026-04-10",
    "exposures_per_day": 500,
}


def look(seed: int, kind: str | None) -> dict[tuple[int, int], list[str]]:
    """Checks that alarm in a world, by days since the release and by lines."""
    drift = params.Drift(kind=kind, start=RELEASE) if kind else None
    simulate = {} if drift else SMALL
    simulate |= {"seed": seed, "drift": drift.model_dump(mode="json") if drift else None}
    with tempfile.TemporaryDirectory() as name, Path(os.devnull).open("w") as null:
        os.chdir(make_world(Path(name), simulate))
        collect.snapshot = remember(collect_anew, Path(name, "snapshots"))
        with redirect_stdout(null), redirect_stderr(null):
            for stage in (collect, features, train, evaluate):
                stage.main()
            end = RELEASE + datetime.timedelta(days=DAYS[-1] if kind else 21)
            lines = log.answer(log.ask(RELEASE, end, drift))
            looks = [(days, count) for days in DAYS for count in LINES] if kind else [(21, 9100)]
            found = {key: alarms(lines, seed, *key) for key in looks}
        os.chdir("/")
    return found


def make_world(folder: Path, simulate: dict) -> Path:
    """A project of the default size, not of that of the tests."""
    original = yaml.safe_load((ROOT / "params.yaml").read_text())
    original["simulate"] |= simulate
    sections = {name: original[name] for name in ("simulate", "train", "evaluate")}
    return make_project(folder, collect=COLLECT, **sections)


def remember(make: Callable, cache: Path) -> Callable:
    """Collect once for each day: twenty looks at a world need the same snapshots."""

    def snapshot(parameters: params.Params, folder: Path) -> None:
        kept = cache / str(parameters.collect.until)
        if not kept.exists():
            make(parameters, kept)
        shutil.copytree(kept, folder, dirs_exist_ok=True)

    return snapshot


def alarms(lines: list[dict], seed: int, days: int, count: int) -> list[str]:
    """The checks that alarm so many days after the release, with so many lines in seven days."""
    end = RELEASE + datetime.timedelta(days=days)
    kept = [line for line in lines if line["time"] < str(end)]
    chosen = np.random.default_rng(seed).random(len(kept)) < count / LINES[-1]
    kept = [line for line, keep in zip(kept, chosen, strict=True) if keep]
    Path("logs").mkdir(exist_ok=True)
    Path("logs/a.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in kept))
    with tempfile.TemporaryDirectory() as folder:
        moment = datetime.datetime.combine(end, datetime.time())
        watch = monitor.watch(params.load(), moment, Path(folder))
    return [check.name for check in watch.checks if check.state == "alarm"]


def main() -> None:
    """Print the share of false alarms, then the share of drifts that are found."""
    worlds, drifting = (int(word) for word in (sys.argv[1:] + ["300", "10"][len(sys.argv) - 1 :]))
    with ProcessPoolExecutor(2) as pool:
        for kind in KINDS if drifting else ():
            counts = Counter()
            for found in pool.map(partial(look, kind=kind), range(1000, 1000 + drifting)):
                counts.update(key for key, names in found.items() if names)
            print(f"\n{kind}: found of {drifting}, by lines {LINES} of seven days")
            for days in DAYS:
                print(
                    f"  after {days} days:", *(counts[days, lines] for lines in LINES), flush=True
                )
        false = Counter()
        for number, found in enumerate(pool.map(partial(look, kind=None), range(worlds)), 1):
            false.update(["any" for names in found.values() if names])
            false.update(name for names in found.values() for name in names)
            if number % 25 == 0 or number == worlds:
                print(f"nothing drifted: {number} worlds, alarms {dict(false)}", flush=True)


if __name__ == "__main__":
    main()
