"""Git, asked from Python."""

import os
import subprocess
from pathlib import Path

from . import DeliveryError


def git(*arguments: str, folder: Path | None = None, **variables: str) -> str:
    """What git prints, without the line ends around it; `variables` go into its environment.

    Raises:
        DeliveryError: git says no; the sentence is git's own.
    """
    environment = os.environ | variables
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        verb = next(word for word in arguments if word[0] != "-" and "=" not in word)
        raise DeliveryError(f"git {verb}: {' '.join(done.stderr.split())}")
    return done.stdout.strip()
