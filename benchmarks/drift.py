"""How often the monitor is wrong: false alarms where nothing drifted, and drifts that it misses.

`PROJECT/.venv/bin/python benchmarks/drift.py [WORLDS [DRIFTING]]` makes so many worlds where
nothing drifted (300) and so many of each drift (10), each with its own seed: players, promotions,
a model trained up to the release, and the log of three weeks. PROJECT is a default project. With
`--documented` it looks only where the project's README says what is found, and prints each world.
"""

import argparse
import datetime
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
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
Look = tuple[int, int]  # days since the release, lines of the last seven days
LOOKS = [(days, count) for days in DAYS for count in LINES]
DOCUMENTED: dict[str | None, Look] = {
    "feature_shift": (7, 500),
    "new_country": (14, 500),
    "stale_pipeline": (7, 500),
    "broken_feature": (7, 500),
    "concept": (14, 2000),
    None: (21, 9100),  # nothing drifts
}
COLLECT = {"until": str(RELEASE - datetime.timedelta(days=1))}
# where nothing drifted a smaller world will do: there are three hundred of them
SMALL = {
    "players": 6000,
    "start": "2026-02-01",
    "experiment_start": "2026-04-10",
    "exposures_per_day": 500,
}


def find(seed: int, kind: str | None, looks: list[Look]) -> dict[Look, list[str]]:
    """Checks that alarm in a world, by look."""
    drift = params.Drift(kind=kind, start=RELEASE) if kind else None
    simulate = {} if drift else SMALL
    simulate |= {"seed": seed, "drift": drift.model_dump(mode="json") if drift else None}
    with tempfile.TemporaryDirectory() as name, Path(os.devnull).open("w") as null:
        os.chdir(make_world(Path(name), simulate))
        collect.snapshot = remember(collect_anew, Path(name, "snapshots"))
        with redirect_stdout(null), redirect_stderr(null):
            for stage in (collect, features, train, evaluate):
                stage.main()
            end = RELEASE + datetime.timedelta(days=max(days for days, _ in looks))
            lines = log.answer(log.ask(RELEASE, end, drift))
            found = {look: alarms(lines, seed, *look) for look in looks}
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
    """What each world says at the documented size, or how often the monitor is right at each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("worlds", type=int, nargs="?", default=300)
    parser.add_argument("drifting", type=int, nargs="?", default=10)
    parser.add_argument("--documented", action="store_true")
    asked = parser.parse_args()
    seeds: dict[str | None, range] = dict.fromkeys(KINDS, range(1000, 1000 + asked.drifting))
    seeds[None] = range(asked.worlds)
    if asked.documented:
        print_worlds(seeds)
        return
    with ProcessPoolExecutor(2) as pool:
        for kind in KINDS if asked.drifting else ():
            print_found(kind, pool.map(partial(find, kind=kind, looks=LOOKS), seeds[kind]))
        nothing = partial(find, kind=None, looks=[DOCUMENTED[None]])
        print_false(pool.map(nothing, seeds[None]), asked.worlds)


def print_worlds(seeds: dict[str | None, range]) -> None:
    """One world after the other at the documented size: a line of JSON with what alarms."""
    for kind, numbers in seeds.items():
        look = DOCUMENTED[kind]
        for seed in numbers:
            names = find(seed, kind, [look])[look]
            print(json.dumps({"kind": kind, "seed": seed, "alarms": names}), flush=True)


def print_found(kind: str, worlds: Iterable[dict[Look, list[str]]]) -> None:
    """In how many worlds a drift is found."""
    found = list(worlds)
    counts = Counter(look for world in found for look, names in world.items() if names)
    print(f"\n{kind}: found of {len(found)}, by lines {LINES} of seven days")
    for days in DAYS:
        print(f"  after {days} days:", *(counts[days, lines] for lines in LINES), flush=True)


def print_false(worlds: Iterable[dict[Look, list[str]]], total: int) -> None:
    """How many worlds alarm where nothing drifted."""
    false = Counter()
    for number, found in enumerate(worlds, 1):
        (names,) = found.values()
        false.update([*names, *(["any"] if names else [])])
        if number % 25 == 0 or number == total:
            print(f"nothing drifted: {number} worlds, alarms {dict(false)}", flush=True)


if __name__ == "__main__":
    main()
