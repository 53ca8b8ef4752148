"""DVC, asked from Python: one process instead of one start of a second or two for each question."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dvc.logger import set_loggers_level
from dvc.repo import Repo

from .identity import log_in_to_storage
from .providers import context


@contextmanager
def open_repository() -> Iterator[Repo]:
    """The project as DVC sees it, which tells its state to us and not to the terminal."""
    log_in_to_storage()
    with set_loggers_level(logging.CRITICAL), Repo() as repo:
        yield repo


def is_shared(repo: Repo) -> bool:
    """Whether this machine can read and write the storage: a folder is often on another one."""
    name = repo.config["core"].get("remote")
    url = repo.config["remote"].get(name, {}).get("url", "")
    return not context().fork and ("://" in url or Path(url or "/nowhere").is_dir())


def sentence(error: BaseException) -> str:
    """What an error says, with its causes, on one line and without colours."""
    said = [str(error)]
    while error := error.__cause__:
        said.append(str(error))
    return re.sub(r"\x1b\[[0-9;]*m", "", " ".join(": ".join(said).split())).rstrip(".")
