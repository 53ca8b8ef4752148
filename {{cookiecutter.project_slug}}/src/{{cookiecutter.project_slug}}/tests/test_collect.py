"""Stage collect: snapshots that keep the contract, from the simulator and from a database."""

import datetime
import json
import sqlite3

import duckdb
import pandas as pd
import pytest

from .. import collect, params, tables
from ..stage import StageError
from .conftest import make_project


def snapshot_bytes():
    return {path.name: path.read_bytes() for path in tables.RAW.iterdir()}


def snapshot_frames():
    return {path.name: duckdb.read_parquet(str(path)).df() for path in tables.RAW.iterdir()}


@pytest.fixture
def shop(project):
    """A SQLite database with the simulator's tables, and the project that reads it."""
    collect.main()
    simulated = snapshot_bytes()
    with sqlite3.connect(project / "shop.db") as database:
        for path in tables.RAW.iterdir():
            frame = duckdb.read_parquet(str(path)).df()
            text = (
                frame.astype(object)
                .where(frame.notna(), None)
                .map(lambda value: str(value) if isinstance(value, datetime.datetime) else value)
            )
            text.to_sql(path.stem, database, index=False)
    set_parameter(project, "source: simulator", "source: sqlite:///shop.db")
    return database, simulated


def set_parameter(project, old, new):
    path = project / "params.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_the_simulator_gives_the_same_bytes_twice(project):
    collect.main()
    first = snapshot_bytes()
    collect.main()
    assert snapshot_bytes() == first


def test_what_git_says_of_the_snapshot_is_what_it_holds(project):
    collect.main()
    facts = json.loads(collect.FACTS.read_text())
    for name, frame in snapshot_frames().items():
        said = facts[name.removesuffix(".parquet")]
        assert said["rows"] == len(frame)
        assert list(said["columns"]) == list(frame.columns)
        for column, ends in said["times"].items():
            assert [pd.Timestamp(end) for end in ends] == [frame[column].min(), frame[column].max()]
    assert facts["events"]["times"]["at"][1] < "2026-02-21"


def test_a_later_date_only_adds_rows(project):
    collect.main()
    early = snapshot_frames()
    set_parameter(project, "2026-02-20", "2026-03-01")
    collect.main()
    columns = {"players": "registered_at", "events": "at", "exposures": "matured_at"}
    for name, column in columns.items():
        before, after = (frames[f"{name}.parquet"] for frames in (early, snapshot_frames()))
        after = after[after[column] < "2026-02-21"].reset_index(drop=True)
        pd.testing.assert_frame_equal(before, after)


def test_nothing_lies_after_the_cutoff(project):
    collect.main()
    newest = duckdb.read_parquet(str(tables.RAW / "events.parquet")).max("at").fetchall()[0][0]
    assert newest < params.load().collect.cutoff


def test_a_database_gives_the_same_bytes_as_its_source(shop):
    _, simulated = shop
    collect.main()
    assert snapshot_bytes() == simulated


def test_a_broken_contract_is_told_and_leaves_the_last_snapshot(shop):
    database, simulated = shop
    with database:
        database.execute("UPDATE exposures SET revenue = -5 WHERE exposure_id < 9")
        database.execute("UPDATE exposures SET promotion_id = 99 WHERE exposure_id = 11")
    with pytest.raises(StageError) as error:
        collect.main()
    lines = str(error.value).splitlines()
    assert lines[1].strip() == "exposures.revenue must be >= 0; rows that break it: 9, such as"
    assert len([line for line in lines if "revenue=-5.00" in line]) == 5
    assert snapshot_bytes() == simulated


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE exposures SET promotion_id = 99 WHERE exposure_id = 1", "one of table promotions"),
        ("UPDATE events SET player_id = 999999 WHERE player_id = 1", "one of table players"),
        (
            "UPDATE exposures SET exposure_id = 7 WHERE exposure_id < 10",
            "exposure_id must be unique",
        ),
        ("UPDATE events SET seconds = 'many' WHERE player_id = 1", "events.seconds must be BIGINT"),
        ("UPDATE players SET country = 'XX' WHERE player_id = 1", "players.country must be one of"),
        ("UPDATE players SET country = NULL WHERE player_id = 1", "country must not be empty"),
        ("DELETE FROM exposures", "exposures has no rows"),
        ("ALTER TABLE players RENAME COLUMN country TO land", "queries/players.sql failed"),
        ("DROP TABLE players", "queries/players.sql failed .* no such table"),
    ],
)
def test_bad_data_are_named(shop, statement, says):
    database, simulated = shop
    with database:
        database.execute(statement)
    with pytest.raises(StageError, match=says):
        collect.main()
    assert snapshot_bytes() == simulated


def test_rows_after_the_cutoff_are_refused(shop, project):
    (project / "queries" / "events.sql").write_text("SELECT * FROM events")
    set_parameter(project, "2026-02-20", "2026-02-19")
    with pytest.raises(StageError, match=r"events.at must be before 2026-02-20 00:00:00"):
        collect.main()


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("nonsense", "neither `simulator` nor a database URL"),
        ("nosuch://host/db", "neither `simulator` nor a database URL"),
        ("sqlite:///no/such/folder/shop.db", "unable to open database file"),
        ("postgresql://reader:$SHOP_PASSWORD@127.0.0.1/x", "SHOP_PASSWORD, which is not set"),
        ("mysql+pymysql://127.0.0.1/x", "uv add --group pipeline pymysql"),
    ],
)
def test_a_bad_source_is_named(project, source, says):
    set_parameter(project, "source: simulator", f"source: {source}")
    with pytest.raises(StageError, match=says):
        collect.main()


def test_a_table_without_a_query_is_named(project):
    set_parameter(project, "source: simulator", "source: sqlite:///shop.db")
    (project / "queries" / "players.sql").unlink()
    with pytest.raises(StageError, match=r"queries/players.sql is missing"):
        collect.main()


def test_missing_and_unknown_columns_are_named(shop, project):
    query = "SELECT player_id, country, platform, 1 AS age FROM players"
    (project / "queries" / "players.sql").write_text(query)
    with pytest.raises(StageError) as error:
        collect.main()
    assert "players.registered_at is missing" in str(error.value)
    assert "players.age is unknown" in str(error.value)


def test_a_missing_reference_table_is_named(project):
    (project / "data" / "promotions.csv").unlink()
    with pytest.raises(StageError, match=r"data/promotions.csv is missing"):
        collect.main()


def test_an_experiment_that_starts_too_late_is_named(tmp_path, monkeypatch):
    late = {"experiment_start": "2026-02-20"}
    monkeypatch.chdir(make_project(tmp_path, simulate=late))
    with pytest.raises(StageError, match="exposures has no rows"):
        collect.main()
