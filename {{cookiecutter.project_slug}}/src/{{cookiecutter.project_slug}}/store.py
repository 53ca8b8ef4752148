"""The online store: features by key in one LMDB file, opened in an instant and shared by workers.

Key: the entity's id, 8 bytes, big-endian. Value, little-endian: known_until (microseconds since
1970, int64), then the features (float32). Key `meta`: JSON with the features' names and the cutoff.
Source: https://lmdb.readthedocs.io
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import lmdb
import numpy as np

META = b"meta"
MAP_SIZE = 1 << 40  # an upper bound of the address space, not of the file


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
        with self._environment.begin() as transaction:
            meta = transaction.get(META)
        if meta is None:
            raise OSError(f"{path} is not complete: build it again")
        self.meta: dict = json.loads(meta)
        self._row = record(len(self.meta["features"]))

    def get(self, ids: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Look up entities by id.

        Returns:
            Features (n, k), float32, and known_until (n,), microseconds since 1970; for an id that
            is not in the store a row of NaN and -1.
        """
        rows = np.empty(len(ids), self._row)
        rows["known_until"], rows["features"] = -1, np.nan
        with self._environment.begin(buffers=True) as transaction:
            for position, number in enumerate(ids):
                value = transaction.get(key(number))
                if value is not None:
                    rows[position] = np.frombuffer(value, self._row)[0]
        return rows["features"], rows["known_until"]

    def close(self) -> None:
        """Give the file back."""
        self._environment.close()

    def __enter__(self) -> Self:
        """Use the store in a with statement."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it at the end of the with statement."""
        self.close()


def record(features: int) -> np.dtype:
    """The layout of a value."""
    return np.dtype([("known_until", "<i8"), ("features", "<f4", (features,))])


def key(number: int) -> bytes:
    """The key of an entity; sorted like the ids."""
    return number.to_bytes(8, "big")


def build(
    path: Path,
    names: Sequence[str],
    cutoff: str,
    chunks: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]],
) -> None:
    """Write a new store.

    Args:
        path: file to make; it must not exist.
        names: of the features, in order.
        cutoff: the moment that the features describe.
        chunks: ids (n,), known_until (n,) in microseconds, features (n, k); ids ascend throughout.
    """
    environment = lmdb.open(
        str(path), subdir=False, lock=False, map_size=MAP_SIZE, sync=False, metasync=False
    )
    layout, count = record(len(names)), 0
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
        meta = {"features": list(names), "cutoff": cutoff, "count": count}
        transaction.put(META, json.dumps(meta).encode())
    environment.sync(True)
    environment.close()


def swap(new: Path, path: Path) -> None:
    """Put a new store in the place of the old one; who has the old one open goes on reading it."""
    new.replace(path)
