"""The prediction log as a table: JSON lines from files or a storage, read once, kept as Parquet."""

import datetime
from pathlib import Path
from typing import Any

import duckdb
import fsspec

from .. import tables
from ..contract import TASK
from ..drift import PREDICTION, Distribution
from ..errors import StageError

FEATURES = tuple(TASK.features.model_fields)
COLUMNS = {
    "time": "TIMESTAMP",
    "status": "INTEGER",
    "entity_id": "BIGINT",
    "ranking": "BIGINT[]",
    "expected": "FLOAT[]",
    "served": "VARCHAR",
    "model": "VARCHAR",
    "cold_start": "BOOLEAN",
    "known_until": "TIMESTAMP",
    "features": "STRUCT(" + ", ".join(f'"{name}" FLOAT' for name in FEATURES) + ")",
    "seconds": "FLOAT",
}
SELECTED = (
    "time, coalesce(status, 200) AS status, entity_id, ranking, expected, served, model, "
    f"cold_start, known_until, seconds, expected[1] AS {PREDICTION}, features IS NULL AS unknown, "
    "unnest(features)"
)
FACTS = """
SELECT
    count(*) AS requests,
    count(*) FILTER (time >= ? - INTERVAL 1 DAY) AS last_day,
    count(*) FILTER (status = 200) AS rankings,
    count(*) FILTER (status BETWEEN 400 AND 499) AS refused,
    count(*) FILTER (status >= 500) AS errors,
    count(*) FILTER (cold_start) AS cold_starts,
    count(*) FILTER (status = 200 AND model IS DISTINCT FROM ?) AS other_models,
    approx_quantile(seconds, [0.5, 0.95, 0.99]) FILTER (status = 200) AS seconds,
    approx_quantile(epoch(time - known_until), 0.1) FILTER (time >= ? - INTERVAL 1 DAY) / 86400
        AS feature_age_days
FROM requests WHERE time >= ?
"""


def read(
    connection: duckdb.DuckDBPyConnection,
    logs: str,
    start: datetime.datetime,
    end: datetime.datetime,
    folder: Path,
) -> int:
    """Make the lines between two moments the view `requests`; returns how many cannot be read.

    Raises:
        StageError: there is no log, or its storage cannot be reached.
    """
    _reach(connection, logs)
    path = tables.escape(folder / "requests.parquet")
    columns = "{" + ", ".join(f"{name}: '{kind}'" for name, kind in COLUMNS.items()) + "}"
    source = (
        f"read_json('{tables.escape(logs)}', format = 'newline_delimited', "
        f"ignore_errors = true, columns = {columns})"
    )
    lines = f"SELECT {SELECTED} FROM {source} WHERE time IS NULL OR time BETWEEN ? AND ?"
    try:
        connection.execute(f"COPY ({lines}) TO '{path}' (FORMAT parquet)", [start, end])
    except duckdb.IOException as error:
        reason = str(error).splitlines()[0]
        raise StageError(
            f"the prediction log {logs} cannot be read ({reason}): LOGS or monitor.logs names it"
        ) from None
    connection.execute(f"CREATE VIEW requests AS SELECT * FROM '{path}' WHERE time IS NOT NULL")
    return _one(connection, f"SELECT count(*) FROM '{path}' WHERE time IS NULL")[0]


def _reach(connection: duckdb.DuckDBPyConnection, logs: str) -> None:
    protocol, separator, _ = logs.partition("://")
    if not separator:
        return
    if connection.filesystem_is_registered(protocol):  # it is that of engine.storage
        return
    try:
        connection.register_filesystem(fsspec.filesystem(protocol))
    except (ValueError, ImportError) as error:
        raise StageError(f"the storage of the prediction log {logs} is unknown: {error}") from None


def facts(
    connection: duckdb.DuckDBPyConnection,
    start: datetime.datetime,
    end: datetime.datetime,
    model: str,
) -> dict[str, Any]:
    """Counts of the lines since `start`, quantiles of their seconds, the age of the features.

    The age is what nine of ten rankings of the last day exceed: somebody who joined today is new
    even where no event arrives any more.
    """
    cursor = connection.execute(FACTS, [end, model, end, start])
    names = [column[0] for column in cursor.description or []]
    return dict(zip(names, cursor.fetchone() or (), strict=True))


def volume(connection: duckdb.DuckDBPyConnection, start: datetime.datetime) -> dict[str, int]:
    """Requests by day."""
    days = "SELECT time::DATE, count(*) FROM requests WHERE time >= ? GROUP BY 1 ORDER BY 1"
    return {str(day): count for day, count in connection.execute(days, [start]).fetchall()}


def count(
    connection: duckdb.DuckDBPyConnection, name: str, like: Distribution, where: str
) -> list[int]:
    """How many lines lie in each bin of a distribution."""
    edges = list(like.edges)
    query = (
        f'SELECT histogram("{name}", {edges}::FLOAT[]), count(*) - count("{name}") '
        f"FROM requests WHERE {where}"
    )
    found, missing = _one(connection, query)
    found = found or {}
    inside = [found.get(edge, 0) for edge in edges]
    return [*inside, sum(found.values()) - sum(inside), missing]


def groups(connection: duckdb.DuckDBPyConnection, where: str) -> Any:
    """Lines of each entity (g,); a line without an id is an entity of its own."""
    query = f"""
        SELECT count(*) AS n FROM requests
        WHERE {where} AND entity_id IS NOT NULL GROUP BY entity_id
        UNION ALL SELECT 1 FROM requests WHERE {where} AND entity_id IS NULL
    """
    return connection.execute(query).fetchnumpy()["n"]


def _one(connection: duckdb.DuckDBPyConnection, query: str) -> tuple:
    return connection.execute(query).fetchone() or ()
