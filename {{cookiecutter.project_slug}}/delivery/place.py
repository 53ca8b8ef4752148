"""Where data and models are stored: the row of storage.json, and what its secrets say.

Secrets come from the environment by the names of the row, or from `.dvc/config.local`; they are
handed to DVC in memory and written nowhere.
"""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

TABLE = Path(__file__).with_name("storage.json")


class Place(NamedTuple):
    """A storage, with the options of DVC's remote."""

    url: str
    login: str
    options: dict[str, str]


def read_table() -> dict[str, Any]:
    """The storage of this project, and the row of every storage."""
    return json.loads(TABLE.read_text())


def read_place(table: dict[str, Any]) -> Place:
    """The storage of this project, as its configuration and the environment say."""
    from dvc.config import Config

    row, config = table["storages"][table["storage"]], Config.from_cwd()
    options = dict(config["remote"].get(config["core"].get("remote"), {}))
    return Place(table["url"], row["login"], options | read_secrets(row))


def read_secrets(row: dict[str, Any]) -> dict[str, str]:
    """The secrets that the environment holds and that DVC has to be told, by DVC's name."""
    return {
        option: os.environ[name]
        for name, option in row["secrets"].items()
        if option and os.environ.get(name)
    }
