"""What every stage shares: how it starts, shows progress, replaces its output and fails."""

import contextlib
import functools
import shutil
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import duckdb
from tqdm import tqdm

from .errors import StageError

progress = functools.partial(tqdm, disable=None, leave=False)  # None: silent unless on a terminal


def run(main: Callable[[], None]) -> None:
    """Run a stage; a user's mistake or a full disk ends it with one sentence and exit code 1."""
    try:
        main()
    except StageError as fault:
        sys.exit(f"ERROR: {fault}")
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        sys.exit(f"ERROR: {name}{error.strerror or error}; mend that and run again")
    except duckdb.Error as error:
        sys.exit(f"ERROR: {' '.join(str(error).split())}; mend that and run again")
    except KeyboardInterrupt:
        sys.exit(130)


@contextlib.contextmanager
def replacing(path: Path) -> Generator[Path]:
    """Give a new path that takes the place of `path` when the block ends well, else vanishes."""
    new, old = (path.with_name(f".{path.name}.{state}") for state in ("new", "old"))
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove(new)
    try:
        yield new
        _remove(old)
        if path.is_dir():  # a folder cannot be replaced in one step
            path.rename(old)
        new.replace(path)
    finally:
        _remove(new)
        _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
