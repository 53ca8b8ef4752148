"""The package that makes the model: the delivery asks it, and knows no more of it than its name."""

import importlib
import tomllib
from pathlib import Path
from types import ModuleType


def load(module: str) -> ModuleType:
    """One of its modules."""
    name = tomllib.loads(Path("pyproject.toml").read_text())["project"]["name"]
    return importlib.import_module(f"{name}.{module}")
