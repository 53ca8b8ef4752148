"""DVC, asked from Python: one process instead of one start of a second or two for each question."""

import logging
import os
import re
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

from dvc.logger import set_loggers_level
from dvc.repo import Repo

from . import DeliveryError
from .identity import log_in_to_storage
from .place import Place, read_place, read_table
from .providers import context

REMOTE = "delivery"  # in memory; by `storage` each commit means what was the storage then
SECONDS = "30"  # until the first answer; the clients' own retries last for minutes


@contextmanager
def open_repository(place: Place | None = None) -> Generator[Repo]:
    """The project as DVC sees it, logged in to its storage or to another place."""
    log_in_to_storage()
    place = place or read_place(read_table())
    remote = {"core": {"remote": REMOTE}, "remote": {REMOTE: place.options}}
    with Repo(config=remote if "url" in place.options else {}) as repo:
        yield repo


@contextmanager
def open_quietly() -> Generator[Repo]:
    """The project, which tells its state to us and not to the terminal."""
    with set_loggers_level(logging.CRITICAL), open_repository() as repo:
        yield repo


def require_answer(repo: Repo) -> None:
    """Ask something small; a refusal is an answer, and is met again by what comes next.

    Raises:
        DeliveryError: STORAGE_SECONDS is no number.
        TimeoutError: there was no answer within that time.
    """
    seconds = os.environ.get("STORAGE_SECONDS", SECONDS)
    if not seconds.isdecimal():
        raise DeliveryError(f"STORAGE_SECONDS is {seconds}: write whole seconds, as 60", 2)

    def question() -> None:
        with suppress(Exception):
            remote = repo.cloud.get_remote_odb()
            remote.fs.info(remote.path)

    thread = Thread(target=question, daemon=True)
    thread.start()
    thread.join(int(seconds))
    if thread.is_alive():
        raise TimeoutError(f"silent for {seconds} seconds, STORAGE_SECONDS allows more")


def is_shared(repo: Repo) -> bool:
    """Whether this machine can read and write the storage: a folder is often on another one."""
    name = repo.config["core"].get("remote")
    url = repo.config["remote"].get(name, {}).get("url", "")
    return not context().fork and ("://" in url or Path(url or "/nowhere").is_dir())


def sentence(error: BaseException) -> str:
    """What an error says, with its causes, on one line and without colours."""
    said = [str(error)]
    while cause := error.__cause__:
        said.append(str(error := cause))
    return re.sub(r"\x1b\[[0-9;]*m", "", " ".join(": ".join(said).split())).rstrip(".")
