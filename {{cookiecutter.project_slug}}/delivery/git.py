"""Git, asked from Python."""

import os
import subprocess
from pathlib import Path

from . import DeliveryError


def git(*arguments: str, folder: Path | None = None, env: dict[str, str] | None = None) -> str:
    """What git prints, without the line ends around it; `env` is added to the environment.

    Raises:
        DeliveryError: git says no; the sentence is git's own.
    """
    variables = os.environ | (env or {})
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    if done.returncode:
        verb = next(word for word in arguments if word[0] != "-" and "=" not in word)
        raise DeliveryError(f"git {verb}: {' '.join(done.stderr.split())}")
    return done.stdout.strip()
