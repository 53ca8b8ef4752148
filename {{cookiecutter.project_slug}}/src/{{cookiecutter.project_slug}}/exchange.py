"""Where workers find files and leave theirs: the project's folder, or a storage that all reach.

A storage is engine.storage, used and imported only where a cluster is chosen. Inputs lie there
under the hash of their content; what a run writes goes with it. The client of each storage logs in
as it always does, by the variables or the role of its machine.
"""

import contextlib
import hashlib
import logging
import tempfile
import uuid
from collections.abc import Generator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import duckdb

from .params import Engine
from .stage import StageError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

CLIENTS = {"s3": "s3fs", "gs": "gcsfs"}


def publish(engine: Engine, folder: Path, names: Sequence[str]) -> Path:
    """A folder in which each worker finds these files of `folder`; StageError if it cannot be."""
    if not _is_remote(engine):
        return folder.absolute()
    digest = hashlib.sha256()
    for name in names:
        with (folder / name).open("rb") as file:
            digest.update(name.encode() + hashlib.file_digest(file, "sha256").digest())
    place = _root(engine) / "inputs" / digest.hexdigest()[:16]
    files = _filesystem(engine)
    try:
        for name in names:
            if not (place / name).exists():  # an object is there in full or not at all
                files.put_file(str(folder / name), str(place / name))
    except Exception as error:  # every client has classes of its own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StageError(
            f"engine.storage {engine.storage} does not take {name} ({reason}): mend its address or "
            "log in; nothing was replaced"
        ) from None
    return place


@contextlib.contextmanager
def scratch(engine: Engine, near: Path) -> Generator[Path]:
    """Give an empty folder that workers write to; it goes when the block ends."""
    if not _is_remote(engine):
        with tempfile.TemporaryDirectory(prefix=".parts-", dir=near) as folder:
            yield Path(folder).absolute()
        return
    place, files = _root(engine) / "parts" / uuid.uuid4().hex, _filesystem(engine)
    try:
        yield place
    finally:
        with contextlib.suppress(Exception):  # what ended the run is worth telling, not this
            files.rm(str(place), recursive=True)


@contextlib.contextmanager
def attached(connection: duckdb.DuckDBPyConnection, engine: Engine) -> Generator[None]:
    """Let DuckDB read and write engine.storage; StageError if a storage refuses what is asked."""
    if _is_remote(engine):
        connection.register_filesystem(_filesystem(engine))
    try:
        yield
    except duckdb.DatabaseError:
        raise
    except duckdb.Error as error:  # none of DuckDB's own: a client in Python raised it
        lines = str(error).split("\n\n")[0].splitlines()
        reason = " ".join(line for line in lines if not line.startswith((" ", "Traceback")))
        raise StageError(f"a storage refuses: {reason}; mend that and run again") from None


def _is_remote(engine: Engine) -> bool:
    return engine.kind != "local" and engine.storage != ""


def _filesystem(engine: Engine) -> "AbstractFileSystem":
    import fsspec

    protocol = engine.storage.split(":")[0]
    logging.getLogger(CLIENTS[protocol]).setLevel(logging.CRITICAL)  # one sentence says it
    try:
        files = fsspec.filesystem(protocol, skip_instance_cache=True, use_listings_cache=False)
    except ImportError as error:
        raise StageError(_advice(engine, error)) from None
    files.open = partial(files.open, cache_type="none")  # DuckDB asks for the ranges that it needs
    return files


def _root(engine: Engine) -> Path:
    try:
        from upath import UPath

        return cast(Path, UPath(engine.storage, use_listings_cache=False))  # it behaves so
    except ImportError as error:
        raise StageError(_advice(engine, error)) from None


def _advice(engine: Engine, error: ImportError) -> str:
    client = CLIENTS[engine.storage.split(":")[0]]
    return (
        f"engine.storage {engine.storage} needs a library that is not installed ({error}): "
        f"uv sync --group cluster, or uv add --group cluster {client}"
    )
