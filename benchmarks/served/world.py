"""Make the large world in this folder: `world.py PLAYERS ACTIONS`, from the example's outputs."""

import json
import sys
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
from promotion_ranker import model, store


def add_actions(count: int) -> None:
    """Give the baseline so many promotions: those of the example, over and over."""
    path = model.FOLDER / model.BASELINE
    baseline = json.loads(path.read_text())
    some = baseline["actions"]
    baseline["actions"] = [some[n % len(some)] | {"action_id": n + 1} for n in range(count)]
    path.write_text(json.dumps(baseline))
    lineage = json.loads((model.FOLDER / model.LINEAGE).read_text())
    lineage["files"][model.BASELINE] = model.digest(path)
    (model.FOLDER / model.LINEAGE).write_text(json.dumps(lineage))


def add_players(count: int) -> None:
    """Make the table of so many players, for the service and, as Parquet, for a scan."""
    with store.Store(store.ONLINE) as old:
        ids = np.arange(old.meta["count"])
        rows, known_until = old.get(ids.tolist())
        encoding, cutoff = old.meta["features"], old.meta["cutoff"]
    chosen = np.random.default_rng(7).integers(0, len(ids), count)
    new = Path("new")
    store.build(new, encoding, cutoff, [(np.arange(count), known_until[chosen], rows[chosen])])
    new.replace(store.ONLINE)
    frame = pd.DataFrame(rows[chosen], columns=list(encoding)).rename_axis("entity_id")
    frame = frame.reset_index()  # duckdb finds it by its name
    duckdb.sql("COPY frame TO 'table.parquet' (FORMAT parquet)")


if __name__ == "__main__":
    add_actions(int(sys.argv[2]))
    add_players(int(sys.argv[1]))
