"""Tables on disk: Parquet snapshots and reference CSVs, opened, checked and written with DuckDB."""

import datetime
import tempfile
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from . import contract, exchange, schema
from .params import Engine
from .stage import StageError

if TYPE_CHECKING:
    import pandas as pd  # no more than a name here: to import it costs every stage a quarter second

RAW = Path("data/raw")
OFFLINE = Path("data/features/offline.parquet")  # what training reads
REFERENCE = Path("data")
ROWS_SHOWN = 5


@contextmanager
def connect(engine: Engine) -> Generator[duckdb.DuckDBPyConnection]:
    """Open a scratch database in memory that spills to disk above the memory limit."""
    with tempfile.TemporaryDirectory(prefix="duckdb-") as folder:
        connection = duckdb.connect(
            ":memory:",
            config={
                "threads": engine.threads,
                "memory_limit": engine.memory_limit,
                "temp_directory": folder,
            },
        )
        # of DuckDB's own, which goes to stdout, even into a pipe
        connection.execute("SET enable_progress_bar = false")
        try:
            with exchange.attached(connection, engine):
                yield connection
        finally:
            connection.close()


def attach(
    connection: duckdb.DuckDBPyConnection, folder: Path = RAW, reference: Path = REFERENCE
) -> None:
    """Make every table of the contract a view; raises StageError for a bad file."""
    for name in contract.TABLES:
        view(connection, name, folder / f"{name}.parquet")
    for name in contract.REFERENCE_TABLES:
        read_reference(connection, name, reference)


def view(connection: duckdb.DuckDBPyConnection, name: str, path: Path, where: str = "true") -> None:
    """Make rows of a Parquet file a view; StageError if it is missing, broken or without rows."""
    file, mend = f"'{escape(path)}'", "`dvc repro` makes it again"
    if _is_missing(path):
        raise StageError(f"{path} is missing: {mend}")
    try:
        connection.execute(f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM {file} WHERE {where}")
        rows = connection.execute(f"SELECT count(*) FROM {file}").fetchone()
    except duckdb.DatabaseError as error:
        reason = str(error).splitlines()[0]
        raise StageError(f"{path} is damaged ({reason}): delete it, {mend}") from None
    if not rows or not rows[0]:
        raise StageError(f"{path} has no rows: look at collect.source in params.yaml")


def read_reference(
    connection: duckdb.DuckDBPyConnection, name: str, folder: Path = REFERENCE
) -> None:
    """Make data/<name>.csv a view, checked like any table."""
    path = folder / f"{name}.csv"
    if _is_missing(path):
        raise StageError(f"{path} is missing: contract.py names it")
    source = f"read_csv('{escape(path)}', header = true, all_varchar = true)"
    connection.execute(f"CREATE OR REPLACE TABLE raw_{name} AS SELECT * FROM {source}")
    check(connection, name, contract.REFERENCE_TABLES[name], None)


def _is_missing(path: Path) -> bool:
    return isinstance(path, Path) and not path.exists()  # a storage was given what is read from it


def load(
    connection: duckdb.DuckDBPyConnection, name: str, chunks: "Iterable[pd.DataFrame]"
) -> None:
    """Collect the chunks of a table, as they come, into the table `raw_<name>`."""
    connection.execute(f"DROP TABLE IF EXISTS raw_{name}")
    verb = f"CREATE TABLE raw_{name} AS"
    for chunk in chunks:
        connection.register("chunk", chunk)
        connection.execute(f"{verb} SELECT * FROM chunk")
        connection.unregister("chunk")
        verb = f"INSERT INTO raw_{name}"


def check(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    model: type[schema.Row],
    cutoff: datetime.datetime | None,
) -> None:
    """Make a loaded table a view with the contract's types; StageError lists what breaks it."""
    types = schema.columns(model)
    found = [row[0] for row in connection.execute(f"DESCRIBE raw_{name}").fetchall()]
    faults = [f"{name}.{column} is missing" for column in types if column not in found]
    faults += [f"{name}.{column} is unknown" for column in found if column not in types]
    _raise(faults)
    cast = ", ".join(f'TRY_CAST("{c}" AS {kind}) AS "{c}"' for c, kind in types.items())
    connection.execute(f"CREATE OR REPLACE VIEW {name} AS SELECT {cast} FROM raw_{name}")
    if connection.execute(f"SELECT count(*) FROM raw_{name}").fetchone() == (0,):
        faults.append(f"{name} has no rows")
    for column, kind in types.items():
        broken = f'"{column}" IS NOT NULL AND TRY_CAST("{column}" AS {kind}) IS NULL'
        faults += _violations(connection, f"raw_{name}", f"{name}.{column} must be {kind}", broken)
    for rule in schema.rules(model, cutoff):
        faults += _violations(connection, name, f"{name}.{rule.column} {rule.words}", rule.broken)
    if model.KEY:
        key = ", ".join(model.KEY)
        twice = f"({key}) IN (SELECT ({key}) FROM {name} GROUP BY ALL HAVING count(*) > 1)"
        faults += _violations(connection, name, f"{name}.{key} must be unique", twice)
    _raise(faults)


def check_references(
    connection: duckdb.DuckDBPyConnection, models: dict[str, type[schema.Row]]
) -> None:
    """Look up every reference of every table; StageError lists the rows that point nowhere."""
    faults = []
    for name, model in models.items():
        for column, target in model.REFERENCES.items():
            nowhere = f"{column} NOT IN (SELECT {column} FROM {target})"
            faults += _violations(
                connection, name, f"{name}.{column} must be one of table {target}", nowhere
            )
    _raise(faults)


def _raise(faults: list[str]) -> None:
    if faults:
        raise StageError("\n  ".join(["the data break contract.py:", *faults]))


def _violations(
    connection: duckdb.DuckDBPyConnection, table: str, words: str, broken: str
) -> list[str]:
    where = f"FROM {table} WHERE {broken}"
    count = connection.execute(f"SELECT count(*) {where}").fetchone()
    if not count or not count[0]:
        return []
    query = connection.execute(f"SELECT * {where} LIMIT {ROWS_SHOWN}")
    names = [column[0] for column in query.description or []]
    rows = [
        ", ".join(f"{name}={value}" for name, value in zip(names, row, strict=True))
        for row in query.fetchall()
    ]
    return [f"{words}; rows that break it: {count[0]}, such as"] + [f"  {row}" for row in rows]


def union(paths: Iterable[Path]) -> str:
    """SQL of the rows of many Parquet files."""
    files = ", ".join(f"'{escape(path)}'" for path in paths)
    return f"FROM read_parquet([{files}])"


def facts(connection: duckdb.DuckDBPyConnection, name: str) -> dict:
    """What git can say of a table: its number of rows, its columns, its first and last times."""
    types = schema.columns(contract.TABLES[name])
    timed = [column for column, kind in types.items() if kind in ("TIMESTAMP", "DATE")]
    ends = [f'{end}("{column}")::VARCHAR' for column in timed for end in ("min", "max")]
    found = connection.execute(f"SELECT {', '.join(['count(*)', *ends])} FROM {name}").fetchone()
    rows, *times = found or (0,)
    pairs = [list(pair) for pair in zip(times[::2], times[1::2], strict=True)]
    return {"rows": rows, "columns": types, "times": dict(zip(timed, pairs, strict=True))}


def write(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> int:
    """Write the result of a query as Parquet, in any order of rows; their number."""
    copied = connection.execute(f"COPY ({query}) TO '{escape(path)}' (FORMAT parquet)")
    return copied.fetchall()[0][0]


def write_sorted(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    """Write the result of an ordered query as Parquet: the same rows give the same bytes.

    By way of a table, as the bytes would else depend on the chunks in which the rows arrive.
    """
    connection.execute(f"CREATE OR REPLACE TABLE written AS {query}")
    file = escape(path)
    connection.execute(f"COPY written TO '{file}' (FORMAT parquet, COMPRESSION zstd)")
    connection.execute("DROP TABLE written")


def escape(path: Path | str) -> str:
    """A path for SQL, between single quotes."""
    return str(path).replace("'", "''")
