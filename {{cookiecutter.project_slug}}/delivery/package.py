"""The package that makes the model: the delivery asks it, and knows no more of it than its name."""

import importlib
import os
import sys
import tomllib
from pathlib import Path
from types import ModuleType


def load(module: str) -> ModuleType:
    """One of its modules."""
    name = tomllib.loads(Path("pyproject.toml").read_text())["project"]["name"]
    return importlib.import_module(f"{name}.{module}")


def activate() -> None:
    """Put this environment's programs first on PATH: a stage runs `python`, activated or not."""
    os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
