"""Stage features: run features.sql over partitions of the entities, to train and to serve."""

import datetime
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np

from . import engine, exchange, params, schema, stage, store, tables
from .contract import REFERENCE_TABLES, TABLES, TASK
from .params import Params
from .stage import StageError, progress, replacing
from .store import ONLINE

DEFINITION = Path(__file__).with_name("features.sql")
ROWS = 100_000  # at a time into the store


def main() -> None:
    """Write the table that training reads and the store that serving reads."""
    parameters = params.load()
    compute(parameters, tables.RAW, tables.OFFLINE, ONLINE)


class Part(NamedTuple):
    """What one partition gave: files of the offline and of the online table, rows of the latter."""

    offline: Path
    online: Path
    rows: int


def compute(parameters: Params, raw: Path, offline: Path | None, online: Path) -> None:
    """Run the definition and merge: neither the partitions nor the engine change a byte."""
    online.parent.mkdir(parents=True, exist_ok=True)
    cutoff = parameters.collect.cutoff
    with (
        exchange.scratch(parameters.engine, online.parent) as folder,
        tables.connect(parameters.engine) as connection,
    ):
        tables.attach(connection, raw)
        parts = []  # of a single one there is nothing to merge: its files would cost a tenth
        if parameters.features.partitions > 1 or parameters.engine.kind != "local":
            parts = _compute_parts(parameters, connection, raw, folder, bool(offline))
        if offline:
            files = [part.offline for part in parts]
            examples = tables.union(files) if parts else offline_query(connection)
            with replacing(offline) as new:
                tables.write_sorted(connection, f"{examples} ORDER BY moment, example_id", new)
        files = [part.online for part in parts]
        rows = tables.union(files) if parts else online_query(connection, cutoff)
        with replacing(online) as new:
            chunks = _online_rows(connection, rows)
            store.build(new, schema.encoding(TASK.features), cutoff.isoformat(), chunks)


def _compute_parts(
    parameters: Params,
    connection: duckdb.DuckDBPyConnection,
    raw: Path,
    folder: Path,
    with_offline: bool,
) -> list[Part]:
    inputs = [f"{name}.parquet" for name in TABLES]
    raw = exchange.publish(parameters.engine, raw, inputs)
    names = [f"{name}.csv" for name in REFERENCE_TABLES]
    reference = exchange.publish(parameters.engine, tables.REFERENCE, names)
    task = partial(compute_partition, parameters, raw, reference, folder, with_offline)
    partitions = split(connection, parameters.features.partitions)
    entities = connection.execute(f"SELECT count(*) FROM {TASK.entities}").fetchall()[0][0]
    parts = []
    with progress(total=entities, desc="features", unit="row", unit_scale=True) as bar:
        for part in engine.map_partitions(parameters.engine, task, partitions):
            parts.append(part)
            bar.update(part.rows)
    return parts


def split(connection: duckdb.DuckDBPyConnection, partitions: int) -> list[str]:
    """Conditions on the entity's id that give as many parts, of about as many entities each.

    Ranges, not remainders: of a table that is sorted by the id each partition reads only its own.
    """
    shares = [number / partitions for number in range(1, partitions)]
    query = f"SELECT quantile_disc({TASK.entity_id}, {shares}) FROM {TASK.entities}"
    bounds = connection.execute(query).fetchall()[0][0] if shares else []
    lower = ["true", *(f"{TASK.entity_id} > {bound}" for bound in bounds)]
    upper = [*(f"{TASK.entity_id} <= {bound}" for bound in bounds), "true"]
    return [f"{low} AND {up}" for low, up in zip(lower, upper, strict=True)]


def compute_partition(
    parameters: Params, raw: Path, reference: Path, folder: Path, with_offline: bool, mine: str
) -> Part:
    """Write the tables for the entities of one partition into new files of the folder."""
    name = uuid.uuid4().hex  # of this attempt: another worker may be at the same partition
    part = Part(folder / f"offline-{name}.parquet", folder / f"online-{name}.parquet", 0)
    with tables.connect(parameters.engine) as connection:
        tables.attach(connection, raw, reference)
        for name, model in TABLES.items():
            if TASK.entity_id in model.model_fields:
                tables.view(connection, name, raw / f"{name}.parquet", mine)
        if with_offline:
            tables.write(connection, offline_query(connection), part.offline)
        online = online_query(connection, parameters.collect.cutoff)
        return part._replace(rows=tables.write(connection, online, part.online))


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
    from . import features  # by its own name, under which workers find what is sent to them

    stage.run(features.main)
