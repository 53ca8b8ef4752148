"""Stage collect: snapshot the source's tables up to collect.until, if they keep the contract."""

import importlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from . import contract, params, stage, tables
from .params import Collect, Params
from .stage import StageError, progress, replacing

QUERIES = Path("queries")
FACTS = Path("reports/data.json")
CHUNK = 50_000


def main() -> None:
    """Write data/raw/<table>.parquet; a broken contract leaves the previous snapshot in place."""
    facts = snapshot(params.load(), tables.RAW)
    with replacing(FACTS) as new:
        new.write_text(json.dumps(facts, indent=1) + "\n")


def snapshot(parameters: Params, folder: Path) -> dict[str, dict]:
    """Collect and check every table, write them all as Parquet; return what each one holds."""
    cutoff = parameters.collect.cutoff
    with tables.connect(parameters.engine) as connection:
        for name in contract.REFERENCE_TABLES:
            tables.read_reference(connection, name)
        for name, chunks in _source(parameters):
            tables.load(connection, name, chunks)
            tables.check(connection, name, contract.TABLES[name], cutoff)
        tables.check_references(connection, contract.TABLES)
        with replacing(folder) as new:
            new.mkdir()
            for name in contract.TABLES:
                query = f"SELECT * FROM {name} ORDER BY ALL"
                tables.write_sorted(connection, query, new / f"{name}.parquet")
        return {name: tables.facts(connection, name) for name in contract.TABLES}


def _source(parameters: Params) -> Iterator[tuple[str, Iterable[pd.DataFrame]]]:
    if parameters.collect.source != "simulator":
        for name in contract.TABLES:
            yield name, query(parameters.collect, name)
        return
    if parameters.simulate is None:
        raise StageError("params.yaml: the simulator needs the section simulate")
    # only here, by name: the module goes when you bring your own data
    simulate = importlib.import_module(".simulate", __package__)
    promotions = pd.read_csv(tables.REFERENCE / "promotions.csv")
    world = simulate.tables(parameters.simulate, parameters.collect.cutoff, promotions)
    yield from ((name, [table]) for name, table in world.items())


def query(collect: Collect, name: str) -> Iterator[pd.DataFrame]:
    """Run queries/<name>.sql, with :until bound to the cutoff; its rows as text, in chunks."""
    import sqlalchemy.exc  # only here: not needed by other sources

    path = QUERIES / f"{name}.sql"
    if not path.exists():
        raise StageError(f"{path} is missing: write the query that selects table {name}")
    lines = path.read_text().splitlines()
    statement = sqlalchemy.text("\n".join(x for x in lines if not x.lstrip().startswith("--")))
    bound = {"until": collect.cutoff} if ":until" in statement.text else {}
    try:
        with sqlalchemy.create_engine(_url(collect.source)).connect() as connection:
            result = connection.execution_options(stream_results=True).execute(statement, bound)
            names = list(result.keys())
            yield pd.DataFrame(columns=names, dtype="string")
            for rows in progress(result.partitions(CHUNK), desc=name, unit="chunk"):
                yield pd.DataFrame(rows, columns=names, dtype="string")
    except sqlalchemy.exc.ArgumentError:
        raise StageError(
            "params.yaml: collect.source is neither `simulator` nor a database URL"
        ) from None
    except ModuleNotFoundError as error:
        raise StageError(
            f"the database driver is missing: uv add --group pipeline {error.name}"
        ) from None
    except sqlalchemy.exc.SQLAlchemyError as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise StageError(f"{path} failed on the database: {reason}") from None


def _url(source: str) -> str:
    url = os.path.expandvars(source)
    if "$" in url:
        name = url.split("$", 1)[1].strip("{}").split("@")[0].split("}")[0]
        raise StageError(f"collect.source needs the environment variable {name}, which is not set")
    return url


if __name__ == "__main__":
    stage.run(main)
