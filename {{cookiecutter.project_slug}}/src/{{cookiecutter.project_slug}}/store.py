"""The online store: features by key in one LMDB file, opened in an instant and shared by workers.

Key: the entity's id, 8 bytes, big-endian. Value, little-endian: known_until (microseconds since
1970, int64), then the features (float32). Key `meta`: JSON with the features and their encoding,
the cutoff, the number of entities and the newest known_until.
Source: https://lmdb.readthedocs.io
"""

import json
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

import lmdb
import numpy as np

ONLINE = Path("data/features/online.lmdb")
META = b"meta"
MISSING = -1  # known_until of an entity that is not in the store
MAP_SIZE = 1 << 40  # an upper bound of the address space, not of the file
LOOK_SECONDS = 1.0  # how often a live store looks whether its file was swapped

log = logging.getLogger(__name__)


class Store:
    """The online features of every entity, read-only."""

    def __init__(self, path: Path) -> None:
        """Open a store; raises OSError if the file is missing or is not a store."""
        try:
            self._environment = lmdb.open(
                str(path), subdir=False, readonly=True, lock=False, create=False, readahead=False
            )
        except lmdb.Error as error:
            raise OSError(f"{path} cannot be opened: {error}") from None
        # one transaction for good, as the file never changes: to begin one costs more than to read
        self._transaction = self._environment.begin()
        meta = self._transaction.get(META) if self._is_whole(path) else None
        if meta is None:
            self.close()
            raise OSError(f"{path} is not complete: build it again")
        self.meta: dict = json.loads(meta)
        width = len(self.meta["features"])
        self._row, self._missing = record(width), missing(width)

    def _is_whole(self, path: Path) -> bool:
        """Whether every page is there: to read one behind the end would kill the process."""
        last, page = self._environment.info()["last_pgno"], self._environment.stat()["psize"]
        return path.stat().st_size >= (last + 1) * page

    def get(self, ids: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Look up entities by id.

        Returns:
            Features (n, k), float32, and known_until (n,), microseconds since 1970; for an id that
            is not in the store a row of NaN and MISSING.
        """
        values = [self._transaction.get(key(number), self._missing) for number in ids]
        rows = np.frombuffer(b"".join(values), self._row)
        return rows["features"], rows["known_until"]

    def first(self) -> int:
        """The lowest id that is in the store."""
        with self._transaction.cursor() as cursor:
            return int.from_bytes(next(cursor.iternext(values=False)), "big")

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every key and value, by ascending id."""
        with self._transaction.cursor() as cursor:
            yield from ((entity, value) for entity, value in cursor if entity != META)

    def close(self) -> None:
        """Give the file back."""
        self._environment.close()

    def __enter__(self) -> Self:
        """Use the store in a with statement."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it at the end of the with statement."""
        self.close()


class LiveStore:
    """A store that follows its file: a new one is opened, a bad one refused while the old serves.

    Attributes:
        error: why the file that is there now is not the one that serves; None if it is.
    """

    def __init__(self, path: Path, encoding: dict[str, list[str]]) -> None:
        """Open the store; raises OSError if it is missing, damaged or of other features."""
        self._path, self._encoding = path, encoding
        self._identity = _identify(path)
        self._store = self._open()
        self._next_look = time.monotonic() + LOOK_SECONDS  # the wall clock may go backwards
        self.error: str | None = None

    def current(self) -> Store:
        """The newest good store; valid until the next call."""
        if (now := time.monotonic()) >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            try:
                self._follow()
            except OSError as error:
                if not self.error:
                    log.error("the last good features go on serving: %s", error)
                self.error = f"the new {self._path.name} is missing or damaged or of other features"
        return self._store

    def _follow(self) -> None:
        if (identity := _identify(self._path)) != self._identity:
            if identity[0] == self._identity[0]:  # written in place: what is open is worth nothing
                self._store.close()
            old, self._store, self._identity = self._store, self._open(), identity
            old.close()
            log.warning("serving the features up to %s", self._store.meta["cutoff"])
        self.error = None

    def _open(self) -> Store:
        store = Store(self._path)
        if list(store.meta["features"].items()) != list(self._encoding.items()):
            store.close()
            raise OSError(f"{self._path} holds other features than contract.py: build it again")
        return store


def _identify(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def record(features: int) -> np.dtype:
    """The layout of a value."""
    return np.dtype([("known_until", "<i8"), ("features", "<f4", (features,))])


def missing(features: int) -> bytes:
    """The value of an entity that is not in the store."""
    return np.array([(MISSING, np.full(features, np.nan))], record(features)).tobytes()


def key(number: int) -> bytes:
    """The key of an entity; sorted like the ids."""
    return number.to_bytes(8, "big")


def build(
    path: Path,
    encoding: dict[str, list[str]],
    cutoff: str,
    chunks: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]],
) -> None:
    """Write a new store.

    Args:
        path: file to make; it must not exist.
        encoding: the features in order, each with its categories (none of a number).
        cutoff: the moment that the features describe.
        chunks: ids (n,), known_until (n,) in microseconds, features (n, k); ids ascend throughout.
    """
    environment = lmdb.open(
        str(path), subdir=False, lock=False, map_size=MAP_SIZE, sync=False, metasync=False
    )
    layout, count, newest = record(len(encoding)), 0, -1
    with environment.begin(write=True) as transaction, transaction.cursor() as cursor:
        for ids, known_until, features in chunks:
            rows = np.empty(len(ids), layout)
            rows["known_until"], rows["features"] = known_until, features
            keys = ids.astype(">u8").tobytes()
            values, size = rows.tobytes(), layout.itemsize
            cursor.putmulti(
                (
                    (keys[8 * i : 8 * i + 8], values[size * i : size * (i + 1)])
                    for i in range(len(ids))
                ),
                append=True,
            )
            count += len(ids)
            newest = max(newest, int(known_until.max()))
        meta = {"features": encoding, "cutoff": cutoff, "count": count, "known_until": newest}
        transaction.put(META, json.dumps(meta).encode())
    environment.sync(True)
    environment.close()
