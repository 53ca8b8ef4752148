"""The prediction log that the service would have written in the stand-in world.

Somebody asks for a ranking a minute before each promotion is shown, and sees a random one.
"""

import datetime
import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from .. import collect, features, model, params, schema, tables
from ..contract import TASK

NAMES = list(TASK.features.model_fields)
MATURES = datetime.timedelta(days=8)


def days(path, start, end, lines=None, drift=None):
    """Write the lines of the days from `start` to before `end`, or some of them at random."""
    rows = answer(ask(start, end, drift))
    if lines is not None and lines < len(rows):
        rows = [rows[i] for i in np.sort(np.random.default_rng(1).permutation(len(rows))[:lines])]
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return rows


def ask(start, end, drift=None):
    """One row for each promotion shown: id, moment, newest fact and encoded features."""
    parameters = params.load()
    section = parameters.collect.model_copy(update={"until": end + MATURES})
    later = parameters.model_copy(update={"collect": section})
    if parameters.simulate:
        world = parameters.simulate.model_copy(update={"drift": drift})
        later = later.model_copy(update={"simulate": world})
    with tempfile.TemporaryDirectory() as folder, tables.connect(parameters.engine) as connection:
        collect.snapshot(later, Path(folder, "raw"))
        tables.attach(connection, Path(folder, "raw"))
        connection.execute(
            "CREATE VIEW moments AS SELECT exposure_id AS moment_id, player_id, "
            "shown_at - INTERVAL 1 MINUTE AS at FROM exposures "
            f"WHERE shown_at >= TIMESTAMP '{start}' AND shown_at < TIMESTAMP '{end}'"
        )
        selected = ", ".join(schema.encoded(TASK.features))
        return connection.execute(
            f"WITH definition AS ({features.definition()}) "
            f"SELECT moments.player_id, moments.at, known_until, {selected} "
            "FROM definition JOIN moments USING (moment_id) ORDER BY moments.at, moment_id"
        ).df()


def answer(asked):
    """The lines: what the model in models/ answers."""
    served, baseline = model.Model.open(), model.open_baseline()
    digest = model.digest(model.FOLDER / model.ONNX)
    known = asked[NAMES].to_numpy(np.float32)
    expected = served.predict_all(known, baseline.inputs)
    order = np.argsort(-expected, axis=1, kind="stable")
    return [
        {
            "time": _text(at),
            "route": "/rank",
            "status": 200,
            "entity_id": int(player),
            "ranking": baseline.action_ids[rank].tolist(),
            "expected": values[rank].tolist(),
            "served": "model",
            "model": digest,
            "cold_start": False,
            "known_until": _text(newest),
            "features": {
                n: None if np.isnan(x) else x for n, x in zip(NAMES, row.tolist(), strict=True)
            },
            "seconds": 0.0004,
        }
        for player, at, newest, row, values, rank in zip(
            asked["player_id"],
            asked["at"],
            asked["known_until"],
            known,
            expected,
            order,
            strict=True,
        )
    ]


def _text(moment):
    return pd.Timestamp(moment).isoformat(timespec="microseconds") + "+00:00"
