"""Publish: the online features of the file into the Redis that FEATURES_STORE names.

`make publish` after a training, on the way to a deployment; `make refresh` does it by itself.
"""

import os

from . import stage
from .errors import StageError
from .store import ONLINE


def main() -> None:
    """Publish, or say what is missing."""
    if not publish():
        raise StageError("FEATURES_STORE is not set: it is a URL such as redis://host:6379/0")


def publish() -> bool:
    """Replace the table that serves, if FEATURES_STORE is set; tells whether it is."""
    if url := os.environ.get("FEATURES_STORE"):
        try:
            from . import redis_store  # only where it is chosen
        except ModuleNotFoundError:
            raise StageError("FEATURES_STORE needs a library: uv add --group serve redis") from None
        redis_store.publish(ONLINE, url)
    return bool(url)


if __name__ == "__main__":
    stage.run(main)
