"""What every stage shares: how it starts, shows progress, replaces its output and fails."""

import contextlib
import shutil
import sys
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import duckdb

from .errors import StageError

if TYPE_CHECKING:
    from tqdm import tqdm  # no more than a name here: not every stage has a loop to wait for


def run(main: Callable[[], int | None], failure: int = 1) -> NoReturn:
    """Run a stage and exit; a user's mistake or a full disk ends it with one sentence."""
    try:
        sys.exit(main())
    except StageError as fault:
        sentence = str(fault)
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        sentence = f"{name}{error.strerror or error}; mend that and run again"
    except duckdb.Error as error:
        sentence = f"{' '.join(str(error).split())}; mend that and run again"
    except KeyboardInterrupt:
        sys.exit(130)
    print(f"ERROR: {sentence}", file=sys.stderr)
    sys.exit(failure)


def progress(rows: Iterable | None = None, **options: Any) -> "tqdm":
    """Show on a terminal how far a loop is, and nothing in a pipe."""
    from tqdm import tqdm

    return tqdm(rows, disable=None, leave=False, **options)


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
