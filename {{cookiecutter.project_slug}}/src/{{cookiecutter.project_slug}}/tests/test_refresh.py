"""Refresh: newer features for the model that is there, and nothing else changes."""

import datetime

import pytest

from .. import model, params, refresh, tables
from ..errors import StageError
from ..ranking import Ranker
from ..store import ONLINE, Store


def test_newer_events_reach_the_ranking_and_training_is_left_alone(copy):
    before = [path.read_bytes() for path in (tables.OFFLINE, model.FOLDER / model.ONNX)]
    old = Ranker().store.current().meta
    refresh.refresh(params.load(), datetime.date(2026, 2, 25))
    meta = Ranker().store.current().meta
    assert meta["cutoff"] == "2026-02-26T00:00:00"
    assert meta["known_until"] > old["known_until"]
    assert meta["count"] > old["count"]
    assert [path.read_bytes() for path in (tables.OFFLINE, model.FOLDER / model.ONNX)] == before
    assert sorted(path.name for path in ONLINE.parent.iterdir()) == [
        "offline.parquet",
        "online.lmdb",
    ]


def test_the_same_day_gives_the_same_bytes_as_the_pipeline(copy):
    before = ONLINE.read_bytes()
    refresh.refresh(params.load(), params.load().collect.until)
    assert ONLINE.read_bytes() == before


def test_features_never_go_back_in_time(copy):
    with pytest.raises(StageError, match="of 2026-02-21T00:00:00 already, later than 2026-02-01"):
        refresh.refresh(params.load(), datetime.date(2026, 2, 1))


def test_a_wrong_day_is_named(copy, monkeypatch):
    monkeypatch.setenv("UNTIL", "soon")
    with pytest.raises(StageError, match=r"UNTIL is a day such as .*, not soon"):
        refresh.main()


def test_a_failure_leaves_the_last_features(copy, monkeypatch):
    before = ONLINE.read_bytes()
    monkeypatch.setattr(refresh.features.store, "build", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        refresh.refresh(params.load(), datetime.date(2026, 2, 25))
    assert ONLINE.read_bytes() == before
    with Store(ONLINE) as store:
        assert store.meta["cutoff"] == "2026-02-21T00:00:00"
