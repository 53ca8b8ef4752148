"""Stage features: run features.sql over partitions of the entities, to train and to serve."""

import datetime
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import duckdb
import numpy as np

from . import engine, params, schema, stage, store, tables
from .contract import TABLES, TASK
from .params import Params
from .stage import StageError, replacing
from .store import ONLINE

DEFINITION = Path(__file__).with_name("features.sql")
ROWS = 100_000  # at a time into the store


def main() -> None:
    """Write the table that training reads and the store that serving reads."""
    parameters = params.load()
    compute(parameters, tables.RAW, tables.OFFLINE, ONLINE)


def compute(parameters: Params, raw: Path, offline: Path | None, online: Path) -> None:
    """Map the definition over the partitions and merge; their number does not change the result."""
    online.parent.mkdir(parents=True, exist_ok=True)
    cutoff = parameters.collect.cutoff
    with (
        tempfile.TemporaryDirectory(prefix=".features-", dir=online.parent) as folder,
        tables.connect(parameters.engine) as connection,
    ):
        split = parameters.features.partitions > 1
        if split:
            work = partial(compute_partition, parameters, raw, Path(folder), offline is not None)
            engine.map_partitions(work, parameters.features.partitions)
        else:  # nothing to merge: files on the way would cost a tenth
            tables.attach(connection, raw)
        if offline:
            examples = f"FROM '{folder}/offline-*.parquet'" if split else offline_query(connection)
            with replacing(offline) as new:
                tables.write_sorted(connection, f"{examples} ORDER BY moment, example_id", new)
        rows = f"FROM '{folder}/online-*.parquet'" if split else online_query(connection, cutoff)
        with replacing(online) as new:
            chunks = _online_rows(connection, rows)
            store.build(new, schema.encoding(TASK.features), cutoff.isoformat(), chunks)


def compute_partition(
    parameters: Params, raw: Path, folder: Path, with_offline: bool, number: int
) -> None:
    """Compute the tables for the entities of one partition and write them into the folder."""
    mine = f"{TASK.entity_id} % {parameters.features.partitions} = {number}"
    with tables.connect(parameters.engine) as connection:
        tables.attach(connection, raw)
        for name, model in TABLES.items():
            if TASK.entity_id in model.model_fields:
                tables.view(connection, name, raw / f"{name}.parquet", mine)
        if with_offline:
            offline = folder / f"offline-{number}.parquet"
            tables.write(connection, offline_query(connection), offline)
        online = online_query(connection, parameters.collect.cutoff)
        tables.write(connection, online, folder / f"online-{number}.parquet")


def offline_query(connection: duckdb.DuckDBPyConnection) -> str:
    """SQL of the examples with what was known at their moments: ids, target, features in words."""
    moments = f"SELECT {TASK.example_id} AS moment_id, {TASK.entity_id}, {TASK.moment} AS at"
    connection.execute(f"CREATE OR REPLACE VIEW moments AS {moments} FROM {TASK.examples}")
    selected = [
        f"example.{TASK.example_id} AS example_id",
        f"example.{TASK.entity_id} AS entity_id",
        f"example.{TASK.moment} AS moment",
        f"example.{TASK.target}::DOUBLE AS target",
        *_feature_columns(connection),
    ]
    source = f"definition JOIN {TASK.examples} AS example ON moment_id = example.{TASK.example_id}"
    if choice := TASK.choice:
        selected += [
            f"example.{choice.key} AS action_id",
            f"example.{choice.propensity}::DOUBLE AS propensity",
            *(f'choice."{name}"' for name in choice.features.model_fields),
        ]
        source += f" JOIN {choice.table} AS choice USING ({choice.key})"
    return f"WITH definition AS ({definition()}) SELECT {', '.join(selected)} FROM {source}"


def online_query(connection: duckdb.DuckDBPyConnection, cutoff: datetime.datetime) -> str:
    """SQL of every entity's features at the cutoff."""
    moments = f"SELECT {TASK.entity_id} AS moment_id, {TASK.entity_id}, TIMESTAMP '{cutoff}' AS at"
    connection.execute(f"CREATE OR REPLACE VIEW moments AS {moments} FROM {TASK.entities}")
    selected = ["moment_id AS entity_id", "known_until", *_feature_columns(connection)]
    return f"WITH definition AS ({definition()}) SELECT {', '.join(selected)} FROM definition"


def definition() -> str:
    """The text of features.sql."""
    return DEFINITION.read_text().rstrip().rstrip(";")


def _feature_columns(connection: duckdb.DuckDBPyConnection) -> list[str]:
    types = schema.columns(TASK.features)
    try:
        given = {row[0] for row in connection.execute(f"DESCRIBE {definition()}").fetchall()}
    except duckdb.Error as error:
        raise StageError(f"{DEFINITION.name}: {' '.join(str(error).split())}") from None
    expected = {"moment_id", "known_until", *types}
    if given != expected:
        names = ", ".join(sorted(given ^ expected))
        raise StageError(f"{DEFINITION.name} and {TASK.features.__name__} differ in: {names}")
    return [f'definition."{name}"::{kind} AS "{name}"' for name, kind in types.items()]


def _online_rows(
    connection: duckdb.DuckDBPyConnection, rows: str
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    selected = ", ".join(schema.encoded(TASK.features))
    connection.execute(
        f"CREATE OR REPLACE TABLE online AS SELECT entity_id, epoch_us(known_until), {selected} "
        f"FROM ({rows}) ORDER BY entity_id"
    )
    first = 0
    while True:
        chunk = f"SELECT * FROM online WHERE rowid BETWEEN {first} AND {first + ROWS - 1}"
        ids, known_until, *features = connection.execute(chunk).fetchnumpy().values()
        if not len(ids):
            return
        yield np.asarray(ids), np.asarray(known_until), np.column_stack(features)
        first += ROWS


if __name__ == "__main__":
    stage.run(main)
