"""Make the outputs of this commit be here, wherever "here" is; safe to repeat.

What another machine made comes from the storage, the rest is made, and what is new is stored: so no
job of a provider hands its outputs to the next. Not with `--allow-missing`, which would leave the
outputs that no stage has to read in the storage.
"""

import os
import sys
from pathlib import Path

from dvc.cli import main as dvc

from . import DeliveryError
from .storage import is_shared, open_repository


def reproduce(arguments: list[str]) -> int:
    """Fetch or make the outputs of this commit, and store what is new."""
    # the stages run this environment's Python, activated or not
    os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    with open_repository() as repo:
        shared = is_shared(repo)
        # a stage with `persist: true` is in no run cache, but its output may be in the cache
        missing = [out.fs_path for out in repo.index.outs if not out.exists]
        repo.checkout(missing, allow_missing=True)
    if not shared:
        print("this machine shares no storage: what its cache lacks is made here", flush=True)
    _dvc("repro", *(["--pull"] if shared else []), *arguments)
    if shared:
        _dvc("push", "--run-cache")
    return 0


def _dvc(*arguments: str) -> None:
    if code := dvc(list(arguments)):
        # what went wrong was printed by the stage or by DVC
        raise DeliveryError(f"dvc {' '.join(arguments)} ended with {code}")
