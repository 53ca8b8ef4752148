"""The online store in Redis, a real one: the bits of the file, swapped at once, or a sentence."""

import shutil
import socket
import subprocess
import threading
import time

import numpy as np
import pytest

from .. import publish, refresh, selfcheck, store
from ..errors import StageError, UnavailableError
from ..ranking import Ranker
from ..store import ONLINE, Store
from .test_store import build

redis = pytest.importorskip("redis", reason="uv add --group serve redis")
from .. import redis_store  # noqa: E402
from ..redis_store import RedisStore  # noqa: E402

ENCODING = {"a": [], "b": []}


class Server:
    """A Redis server of a test's own, that it can stop and start."""

    def __init__(self, folder):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.folder, self.url = folder, f"redis://127.0.0.1:{self.port}/0"

    def start(self):
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--dir", str(self.folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self.client = redis.Redis.from_url(self.url)
        for _ in range(200):
            try:
                return self.client.ping()
            except redis.RedisError:
                time.sleep(0.05)
        raise AssertionError("Redis does not start")

    def stop(self):
        self.client.save()
        self.process.kill()
        self.process.wait()


@pytest.fixture
def server(tmp_path_factory):
    if not shutil.which("redis-server"):
        pytest.skip("redis-server is not installed")
    made = Server(tmp_path_factory.mktemp("redis"))
    made.start()
    yield made
    made.stop()


def test_every_row_is_the_file_s_bit_for_bit(copy, server, monkeypatch):
    monkeypatch.setenv("FEATURES_STORE", server.url)
    publish.main()
    with Store(ONLINE) as file:
        ids = [int.from_bytes(entity, "big") for entity, _ in file.items()]
        ids += [2**40, ids[0]]
        opened = RedisStore(server.url, file.meta["features"])
        for ours, theirs in zip(opened.get(ids), file.get(ids), strict=True):
            assert ours.tobytes() == theirs.tobytes()
        assert opened.first() == file.first()
        assert {**file.meta, "first": ids[0]} == opened.meta


def test_the_service_ranks_the_same_from_either(copy, server, monkeypatch):
    from_file = [Ranker().rank(number, None) for number in range(20)]
    monkeypatch.setenv("FEATURES_STORE", server.url)
    publish.main()
    from_redis = [Ranker().rank(number, None) for number in range(20)]
    for one, other in zip(from_file, from_redis, strict=True):
        assert (one.actions, one.expected, one.known_until) == (
            other.actions,
            other.expected,
            other.known_until,
        )
    selfcheck.main([])


def test_a_swap_is_seen_at_once_whole_and_leaves_nothing_behind(tmp_path, server):
    ids = tuple(range(3000))
    build(tmp_path / "old", ids=ids)
    build(tmp_path / "new", offset=0.5, ids=ids)
    redis_store.publish(tmp_path / "old", server.url)
    opened, seen, errors = RedisStore(server.url, ENCODING), set(), []
    going = threading.Event()

    def look():
        try:
            while not going.is_set():
                rows, _ = opened.get(ids)
                seen.update((rows[:, 0] % 1).tolist())
                assert len(set((rows[:, 0] % 1).tolist())) == 1  # never half of each
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=look)
    thread.start()
    for name in ("new", "old", "new"):
        redis_store.publish(tmp_path / name, server.url)
    going.set()
    thread.join()
    assert errors == []
    assert seen <= {0.0, 0.5}
    rows, _ = opened.get(ids)
    assert set((rows[:, 0] % 1).tolist()) == {0.5}
    assert server.client.keys() == [redis_store.key(ENCODING).encode()]


def test_a_publication_that_dies_leaves_the_old_table_and_is_forgotten(
    tmp_path, server, monkeypatch
):
    ids = tuple(range(20_000))
    old = build(tmp_path / "old", ids=ids)
    redis_store.publish(tmp_path / "old", server.url)

    class Interrupted(Store):
        def items(self):
            for number, item in enumerate(super().items()):
                if number > redis_store.ROWS + 1:
                    raise KeyboardInterrupt
                yield item

    monkeypatch.setattr(redis_store, "Store", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        redis_store.publish(tmp_path / "old", server.url)
    (left,) = set(server.client.keys()) - {redis_store.key(ENCODING).encode()}
    assert 0 < server.client.ttl(left) <= redis_store.LEFT_SECONDS
    assert server.client.ttl(redis_store.key(ENCODING)) == -1
    opened = RedisStore(server.url, ENCODING)
    assert opened.get(ids)[0].tobytes() == old.tobytes()


def test_other_features_lie_beside_and_are_never_served(tmp_path, server):
    build(tmp_path / "old")
    redis_store.publish(tmp_path / "old", server.url)
    with pytest.raises(OSError, match="holds no table of these features: `make publish`"):
        RedisStore(server.url, {"b": [], "a": []})


def test_a_server_that_goes_is_told_and_one_that_returns_is_used(tmp_path, server, monkeypatch):
    monkeypatch.setattr(store, "LOOK_SECONDS", 0)
    rows = build(tmp_path / "old")
    redis_store.publish(tmp_path / "old", server.url)
    opened = RedisStore(server.url, ENCODING)
    server.stop()
    with pytest.raises(UnavailableError, match="the online store does not answer"):
        opened.current().get([1])
    assert opened.error == "the online store does not answer"
    with pytest.raises(OSError, match="the online store was not replaced"):
        redis_store.publish(tmp_path / "old", server.url)
    server.start()
    assert opened.current().get([1])[0].tolist() == [rows[1].tolist()]
    assert opened.error is None


def test_a_server_that_hangs_does_not_hold_a_ranking_for_long(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"redis://127.0.0.1:{deaf.getsockname()[1]}/0"
        with pytest.raises(OSError, match="does not answer"):
            RedisStore(url, ENCODING)


def test_a_refresh_publishes_too(copy, server, monkeypatch):
    monkeypatch.setenv("FEATURES_STORE", server.url)
    monkeypatch.setenv("UNTIL", "2026-02-25")
    refresh.main()
    assert Ranker().store.current().meta["cutoff"] == "2026-02-26T00:00:00"


def test_what_is_wrong_with_the_address_is_said(copy, monkeypatch):
    monkeypatch.delenv("FEATURES_STORE", raising=False)
    with pytest.raises(StageError, match="FEATURES_STORE is not set: it is a URL"):
        publish.main()
    monkeypatch.setenv("FEATURES_STORE", "shop.example.com")
    with pytest.raises(StageError, match="FEATURES_STORE is not the URL of a Redis server"):
        Ranker()


def test_rows_are_single_precision_and_unknown_ones_nan(tmp_path, server):
    build(tmp_path / "old")
    redis_store.publish(tmp_path / "old", server.url)
    rows, known_until = RedisStore(server.url, ENCODING).get([7, 1])
    assert rows.dtype == np.float32
    assert np.isnan(rows[0]).all()
    assert known_until.tolist() == [-1, 1]
