"""Git, asked from Python."""

import os
import subprocess
from pathlib import Path

from . import DeliveryError


def git(*arguments: str, folder: Path | None = None, env: dict[str, str] | None = None) -> str:
    """What git prints, without the line ends around it; `env` is added to the environment.

    Raises:
        DeliveryError: git says no, and the sentence is git's own; or there is no git.
    """
    variables = os.environ | (env or {})
    command = ["git", *arguments]
    try:
        done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    except FileNotFoundError:
        raise DeliveryError("git is not installed", 2) from None
    if done.returncode:
        verb = next(word for word in arguments if word[0] != "-" and "=" not in word)
        raise DeliveryError(f"git {verb}: {' '.join(done.stderr.split())}")
    return done.stdout.strip()
