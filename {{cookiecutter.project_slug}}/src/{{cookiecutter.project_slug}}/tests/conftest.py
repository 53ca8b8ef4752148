"""A project in a temporary folder: with three-row tables, or with a small simulated world."""

import shutil
from pathlib import Path

import duckdb
import pandas as pd
import pytest
import yaml

from .. import collect, evaluate, examples, features, params, tables, train

ROOT = Path(__file__).parents[3]
PACKAGE = params.__name__.rpartition(".")[0]
SMALL = {
    "collect": {"until": "2026-02-20"},
    "simulate": {"players": 400, "experiment_start": "2026-01-20", "exposures_per_day": 120},
    "train": {"rounds": 20, "min_child_weight": 5},
    "evaluate": {"resamples": 40},
}


def make_project(folder: Path, **changes: dict) -> Path:
    """Copy what git holds of the project's inputs, with a small world and changed parameters."""
    for name in ("data", "queries", "notebooks"):
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("raw", "features")
        )
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section in (SMALL, changes):
        for name, values in section.items():
            content[name] = content.get(name, {}) | values
    (folder / "params.yaml").write_text(yaml.safe_dump(content))
    for name in ("pyproject.toml", "uv.lock"):
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project without data; the working directory."""
    monkeypatch.chdir(make_project(tmp_path))
    return tmp_path


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A project whose stages ran, all but the report; read it, do not change it."""
    folder = make_project(tmp_path_factory.mktemp("finished"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for stage in (collect, features, train, evaluate):
            stage.main()
    return folder


@pytest.fixture
def copy(finished, tmp_path, monkeypatch):
    """A copy of the finished project to change; the working directory."""
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def parameters(project):
    """The parameters of the project."""
    return params.load()


def keep(path, condition):
    """Keep only some rows of a Parquet file."""
    query = f"COPY (SELECT * FROM '{path}' WHERE {condition}) TO '{path}.kept' (FORMAT parquet)"
    duckdb.connect().execute(query)
    Path(f"{path}.kept").replace(path)


def write_tables(parameters, players, events, exposures):
    """Write rows as the snapshot of the project, without checking them."""
    rows = {"players": players, "events": events, "exposures": exposures}
    tables.RAW.mkdir(parents=True, exist_ok=True)
    with tables.connect(parameters.engine) as connection:
        for name, table in rows.items():
            columns = list(tables.contract.TABLES[name].model_fields)
            frame = pd.DataFrame(table, columns=columns, dtype="object").astype("string")
            tables.load(connection, name, [frame])
            types = tables.schema.columns(tables.contract.TABLES[name])
            cast = ", ".join(f'"{column}"::{kind} AS "{column}"' for column, kind in types.items())
            query = f"SELECT {cast} FROM raw_{name}"
            tables.write(connection, query, tables.RAW / f"{name}.parquet")


def at_cutoff(folder, parameters):
    """What training's path says of every player at the cutoff: one example each."""
    with tables.connect(parameters.engine) as connection:
        tables.attach(connection)
        cutoff = parameters.collect.cutoff
        connection.execute(
            f"CREATE TABLE at_cutoff AS SELECT player_id AS exposure_id, player_id, "
            f"1 AS promotion_id, 1.0 AS propensity, TIMESTAMP '{cutoff}' AS shown_at, "
            f"TIMESTAMP '{cutoff}' AS matured_at, 0 AS revenue FROM players"
        )
        connection.execute("CREATE OR REPLACE VIEW exposures AS SELECT * FROM at_cutoff")
        path = folder / "at_cutoff.parquet"
        query = f"SELECT * FROM ({features.offline_query(connection)}) ORDER BY example_id"
        tables.write(connection, query, path)
    return examples.read(parameters.engine, path)
