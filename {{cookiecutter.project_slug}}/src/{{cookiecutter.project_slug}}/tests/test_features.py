"""Stage features: right by hand, blind to the future, and the same for training and for serving."""

import duckdb
import numpy as np
import pytest

from .. import features, params, schema, tables
from ..contract import TASK
from ..stage import StageError
from ..store import Store
from .conftest import at_cutoff, keep, write_tables

NAMES = list(TASK.features.model_fields)
PLAYERS = [(1, "DE", "ios", "2026-01-01 00:00:00"), (2, "US", "web", "2026-02-09 12:00:00")]
EVENTS = [
    (1, "2026-01-10 00:00:00", "purchase", "coins", "4.99", 0),
    (1, "2026-02-01 00:00:00", "session", None, "0", 1800),
    (1, "2026-02-08 00:00:00", "session", None, "0", 5400),
    (1, "2026-02-09 00:00:00", "purchase", "skins", "1.01", 0),
]
SHOWN = "2026-02-10 00:00:00"
EXPOSURES = [
    (1, 1, 3, 0.5, SHOWN, "2026-02-17 00:00:00", "4.99"),
    (2, 2, 4, 0.5, SHOWN, "2026-02-17 00:00:00", "0"),
]


def offline(parameters, events=EVENTS):
    """The offline table of the three-row tables, by example."""
    write_tables(parameters, PLAYERS, events, EXPOSURES)
    features.compute(parameters, tables.RAW, tables.OFFLINE, features.ONLINE)
    frame = duckdb.read_parquet(str(tables.OFFLINE)).df()
    return {row["example_id"]: row for row in frame.to_dict("records")}


def test_a_player_with_a_history_by_hand(parameters):
    row = offline(parameters)[1]
    expected = {
        "country": "DE",
        "platform": "ios",
        "tenure_days": 40,
        "days_since_session": 2,
        "sessions_7d": 1,
        "sessions_28d": 2,
        "hours_28d": 2,
        "days_since_purchase": 1,
        "purchases_28d": 1,
        "spend_28d": 1.01,
        "spend_84d": 6,
        "spend_boosts": 0,
        "spend_coins": 4.99,
        "spend_lives": 0,
        "spend_skins": 1.01,
    }
    assert {name: row[name] for name in NAMES} == expected
    assert (row["target"], row["product_set"], row["price"]) == (4.99, "boosts", 4.99)


def test_a_player_without_a_history_by_hand(parameters):
    row = offline(parameters)[2]
    assert row["tenure_days"] == 0.5
    assert np.isnan(row["days_since_session"])
    assert np.isnan(row["days_since_purchase"])
    assert {row[name] for name in NAMES if name.startswith(("spend", "sessions"))} == {0}


@pytest.mark.parametrize("at", [SHOWN, "2026-02-11 00:00:00"])
def test_what_happens_at_or_after_the_moment_does_not_leak(parameters, at):
    before = offline(parameters)[1]
    later = (1, at, "purchase", "lives", "99.99", 0)
    assert offline(parameters, [*EVENTS, later])[1] == before


def test_what_happens_just_before_the_moment_counts(parameters):
    earlier = (1, "2026-02-09 23:59:59", "purchase", "lives", "99.99", 0)
    assert offline(parameters, [*EVENTS, earlier])[1]["spend_lives"] == 99.99


def test_training_and_serving_get_the_same_bits(copy):
    """Ask the offline path for every player at the cutoff, and the store for the same players."""
    trained = at_cutoff(copy, params.load())
    with Store(features.ONLINE) as store:
        served, known_until = store.get(trained.entity_id.tolist())
        assert list(store.meta["features"]) == NAMES
        assert store.meta["count"] == len(trained) > 400
    assert served.tobytes() == trained.inputs[:, : len(NAMES)].tobytes()
    assert (known_until > 0).all()


@pytest.mark.parametrize("partitions", [2, 7])
def test_the_number_of_partitions_does_not_change_a_byte(copy, partitions):
    before = tables.OFFLINE.read_bytes(), features.ONLINE.read_bytes()
    parameters = params.load()
    split = parameters.model_copy(update={"features": params.Features(partitions=partitions)})
    features.compute(split, tables.RAW, tables.OFFLINE, features.ONLINE)
    assert (tables.OFFLINE.read_bytes(), features.ONLINE.read_bytes()) == before


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: path.unlink(), "events.parquet is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:1000]), "events.parquet is damaged"),
        (lambda path: path.write_bytes(b""), "events.parquet is damaged"),
        (lambda path: keep(path, "false"), "events.parquet has no rows"),
    ],
)
def test_a_bad_snapshot_is_named_and_the_outputs_stay(copy, damage, says):
    before = tables.OFFLINE.read_bytes()
    path = tables.RAW / "events.parquet"
    good = path.read_bytes()
    damage(path)
    with pytest.raises(StageError, match=says):
        features.main()
    assert tables.OFFLINE.read_bytes() == before
    path.write_bytes(good)
    features.main()
    assert tables.OFFLINE.read_bytes() == before


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "AS spend_84d",
            "AS spend_85d",
            "features.sql and PlayerFeatures differ in: spend_84d, spe",
        ),
        ("sum(amount)", "sum(amounts)", "features.sql: .*amounts"),
        ("SELECT", "SELEKT", "features.sql: Parser Error"),
    ],
)
def test_a_wrong_definition_is_named(copy, monkeypatch, old, new, says):
    changed = features.DEFINITION.read_text().replace(old, new)
    monkeypatch.setattr(features, "DEFINITION", copy / "features.sql")
    features.DEFINITION.write_text(changed)
    with pytest.raises(StageError, match=says):
        features.main()


def test_the_definition_gives_the_features_in_the_order_of_the_contract():
    assert tuple(schema.columns(TASK.features)) == TASK.feature_names[: len(NAMES)]
