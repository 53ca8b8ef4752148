"""The online store in Redis: for services on many hosts that must all see an update at once.

One hash for each set of features, PACKAGE:online:DIGEST; its fields and values are those of the
file (store.py). A service of other features reads another hash: old and new ones run side by side.
Source: https://redis.io/docs/latest/commands/hget
"""

import hashlib
import json
import logging
import os
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import redis

from . import store
from .errors import UnavailableError
from .store import Store

TIMEOUT_SECONDS = 0.5  # of the service; a ranking without features is better refused than late
PUBLISH_SECONDS = 60.0
LEFT_SECONDS = 3600  # after which Redis forgets what a publication that died has left
ROWS = 10_000  # at a time

log = logging.getLogger(__name__)


class RedisStore:
    """The online features of every entity, by URL; what LiveStore is for the file.

    Attributes:
        error: why the store does not answer; None if it does.
        meta: of the table when it was last looked at, as Store has it.
    """

    def __init__(self, url: str, encoding: dict[str, list[str]]) -> None:
        """Open it; raises OSError if it does not answer or holds no table of these features."""
        self._redis = _connect(url, TIMEOUT_SECONDS)
        self._key, width = key(encoding), len(encoding)
        self._row, self._missing = store.record(width), store.missing(width)
        self._next_look = 0.0
        self.error: str | None = None
        self.meta: dict = {}
        try:
            self._look()
        except redis.RedisError as error:
            raise OSError(f"the online store does not answer: {error}") from None
        if not self.meta:
            raise OSError("the online store holds no table of these features: `make publish`")

    def current(self) -> "RedisStore":
        """The store itself, as a swap happens in Redis."""
        if (now := time.monotonic()) >= self._next_look:
            try:
                self._look()
                self.error = None
            except redis.RedisError as error:
                if not self.error:
                    log.error("the online store does not answer: %s", error)
                self.error = "the online store does not answer"
            self._next_look = now + store.LOOK_SECONDS
        return self

    def _look(self) -> None:
        if meta := self._redis.hget(self._key, store.META):
            self.meta = json.loads(meta)

    def get(self, ids: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Look up entities as Store does, all in one question; UnavailableError if none answers."""
        values = [value or self._missing for value in self._read("HMGET", *map(store.key, ids))]
        rows = np.frombuffer(b"".join(values), self._row)
        return rows["features"], rows["known_until"]

    def first(self) -> int:
        """The lowest id that is in the store."""
        return self.meta["first"]

    def _read(self, command: str, *fields: bytes) -> Any:
        try:
            return self._redis.execute_command(command, self._key, *fields)
        except redis.RedisError as error:
            raise UnavailableError(f"the online store does not answer ({error})") from None


def publish(path: Path, url: str) -> None:
    """Write the table of a file beside the one that serves, then swap them in one transaction.

    Raises OSError if the file is not a store or Redis fails; then the old table goes on serving.
    """
    connection = _connect(url, PUBLISH_SECONDS)
    new, old = (f"{__package__}:online:{uuid.uuid4().hex}" for _ in range(2))
    try:
        with Store(path) as file, connection.pipeline(transaction=False) as filling:
            name, meta = key(file.meta["features"]), file.meta | {"first": file.first()}
            for number, (entity, value) in enumerate(file.items()):
                filling.hset(new, entity, value)
                if number % ROWS == 0:
                    filling.expire(new, LEFT_SECONDS)
                    filling.execute()
            filling.hset(new, store.META, json.dumps(meta))
            filling.persist(new)
            filling.execute()
        with connection.pipeline(transaction=True) as swap:
            if connection.exists(name):  # away first: what is renamed over is freed while all wait
                swap.rename(name, old)
                swap.unlink(old)
            swap.rename(new, name)
            swap.execute()
    except redis.RedisError as error:
        raise OSError(f"the online store was not replaced: {error}") from None


def key(encoding: dict[str, list[str]]) -> str:
    """The key of the table of these features."""
    digest = hashlib.sha256(json.dumps(encoding).encode()).hexdigest()[:12]
    return f"{__package__}:online:{digest}"


def _connect(url: str, seconds: float) -> redis.Redis:
    try:
        return redis.Redis.from_url(
            os.path.expandvars(url), socket_timeout=seconds, socket_connect_timeout=seconds
        )
    except ValueError as error:
        raise OSError(f"FEATURES_STORE is not the URL of a Redis server: {error}") from None
