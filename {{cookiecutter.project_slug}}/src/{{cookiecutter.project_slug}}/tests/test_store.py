"""The online store: what was built is what is read, also while it is replaced."""

import os

import lmdb
import numpy as np
import pytest

from .. import store
from ..store import LiveStore, Store


def build(path, offset=0.0, ids=(0, 1, 258, 2**40)):
    rows = np.arange(2 * len(ids), dtype=np.float32).reshape(-1, 2) + np.float32(offset)
    chunk = np.array(ids), np.arange(len(ids)), rows
    store.build(path, {"a": [], "b": []}, "2026-01-01", [chunk])
    return rows


def test_rows_come_back_bit_for_bit_in_the_order_asked(tmp_path):
    rows = build(tmp_path / "store")
    with Store(tmp_path / "store") as opened:
        values, known_until = opened.get([2**40, 0, 258])
    assert values.tobytes() == rows[[3, 0, 2]].tobytes()
    assert known_until.tolist() == [3, 0, 2]


def test_one_row_is_the_same_as_one_of_many(tmp_path):
    rows = build(tmp_path / "store")
    with Store(tmp_path / "store") as opened:
        values, known_until = opened.get([258])
        assert opened.first() == 0
    assert (values.tobytes(), known_until.tolist()) == (rows[2].tobytes(), [2])


def test_an_unknown_id_gives_nan_and_no_time(tmp_path):
    build(tmp_path / "store")
    with Store(tmp_path / "store") as opened:
        values, known_until = opened.get([7, 1])
    assert np.isnan(values[0]).all()
    assert known_until.tolist() == [-1, 1]


def test_a_swap_leaves_open_readers_alone_and_serves_the_next(tmp_path):
    old = build(tmp_path / "store")
    with Store(tmp_path / "store") as reader:
        new = build(tmp_path / "new", offset=100)
        (tmp_path / "new").replace(tmp_path / "store")
        assert reader.get([1])[0].tolist() == [old[1].tolist()]
    with Store(tmp_path / "store") as reader:
        assert reader.get([1])[0].tolist() == [new[1].tolist()]


def test_a_live_store_follows_swaps_and_survives_bad_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "LOOK_SECONDS", 0)
    path, encoding = tmp_path / "store", {"a": [], "b": []}
    old = build(path)
    live = LiveStore(path, encoding)

    def first():
        return live.current().get([1])[0][0].tolist()

    path.touch()
    assert (first(), live.error) == (old[1].tolist(), None)
    (tmp_path / "half").write_bytes(path.read_bytes()[:8192])
    (tmp_path / "half").replace(path)
    assert first() == old[1].tolist()
    assert "missing or damaged" in str(live.error)
    new = build(tmp_path / "new", offset=100)
    (tmp_path / "new").replace(path)
    assert (first(), live.error) == (new[1].tolist(), None)
    path.unlink()
    assert first() == new[1].tolist()
    assert live.error


def test_a_store_that_is_overwritten_in_place_never_answers_from_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "LOOK_SECONDS", 0)
    path = tmp_path / "store"
    build(path)
    live = LiveStore(path, {"a": [], "b": []})
    os.truncate(path, 8192)
    with pytest.raises(lmdb.Error):
        live.current().get([1])


def test_building_twice_gives_the_same_bytes(tmp_path):
    build(tmp_path / "one")
    build(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("content", [None, b"", b"not a store" * 1000])
def test_a_bad_file_is_an_oserror(tmp_path, content):
    if content is not None:
        (tmp_path / "store").write_bytes(content)
    with pytest.raises(OSError, match="store"):
        Store(tmp_path / "store")
