"""The model of another commit: out of DVC's cache or storage, or made again from that commit."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from . import DeliveryError
from .git import git

MODELS = "models"
AGAIN = "its model was made again from its commit, as neither cache nor storage holds it"


@contextmanager
def open_model(revision: str) -> Generator[tuple[Path, str]]:
    """The folder of a revision's model, and a word on where it comes from, if it is uncommon.

    Raises:
        DeliveryError: it is not stored and cannot be made again.
    """
    with tempfile.TemporaryDirectory(prefix="champion-") as folder:
        stored = Path(folder, "stored")
        if not _dvc("get", "--quiet", ".", MODELS, "--rev", revision, "--out", str(stored)):
            yield stored, ""
            return
        tree = Path(folder, "tree")
        no_hooks = ("-c", f"core.hooksPath={os.devnull}")
        git(*no_hooks, "worktree", "add", "--quiet", "--detach", str(tree), revision)
        try:
            _reproduce(tree)
            yield tree / MODELS, AGAIN
        finally:
            git("worktree", "remove", "--force", str(tree))


def _reproduce(tree: Path) -> None:
    """With that commit's own libraries, and this clone's cache."""
    cache = Path(".dvc/cache").resolve()
    (tree / ".dvc/config.local").write_text(f"[cache]\n    dir = {cache}\n")
    command = [sys.executable, "-m", "uv", "run", "--frozen", "--quiet", "dvc", "repro", "train"]
    ours = {"PYTHONPATH", "VIRTUAL_ENV"}
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    if done.returncode:
        reason = " ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-1:])
        raise DeliveryError(f"its model is not stored, and cannot be made again: {reason}")


def _dvc(*arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=True).returncode
