"""Git, asked from Python."""

import subprocess
from pathlib import Path

from . import DeliveryError


def git(*arguments: str, folder: Path | None = None) -> str:
    """What git prints, without the line ends around it.

    Raises:
        DeliveryError: git says no; the sentence is git's own.
    """
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise DeliveryError(f"git {arguments[0]}: {' '.join(done.stderr.split())}")
    return done.stdout.strip()
