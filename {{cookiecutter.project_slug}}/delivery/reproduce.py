"""Make the outputs of this commit be here, wherever "here" is; safe to repeat.

What another machine made comes from the storage, the rest is made, and what is new is stored: so no
job of a provider hands its outputs to the next. Not with `--allow-missing`, which would leave the
outputs that no stage has to read in the storage.
"""

import logging

from dvc.exceptions import DvcException
from dvc.logger import set_loggers_level

from . import DeliveryError
from .package import activate
from .repository import is_shared, open_quietly, open_repository, sentence
from .storage import opened


def reproduce(arguments: list[str]) -> int:
    """Fetch or make the outputs of this commit, and store what is new."""
    activate()
    with open_quietly() as repo:
        shared = is_shared(repo)
        # a stage with `persist: true` is in no run cache, but its output may be in the cache
        missing = [out.fs_path for out in repo.index.outs if not out.exists]
        repo.checkout(missing, allow_missing=True)
    if not shared:
        print("this machine shares no storage: what its cache lacks is made here", flush=True)
    with set_loggers_level(logging.INFO), open_repository() as repo:
        try:
            repo.reproduce(pull=shared)
        except DvcException as error:  # what went wrong in a stage was printed by the stage
            raise DeliveryError(sentence(error)) from None
    if shared:
        with opened("push") as repo:
            repo.push(run_cache=True)
    return 0
