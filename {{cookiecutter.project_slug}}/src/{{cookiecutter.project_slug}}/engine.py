"""Where partitions are worked on: in this process, or on the workers of a Dask cluster."""

from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import TypeVar

from .params import Engine
from .stage import StageError

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_partitions(
    engine: Engine, task: Callable[[Item], Result], partitions: Sequence[Item]
) -> Iterator[Result]:
    """Run the task for each partition; the results come as they are done, in any order.

    On a cluster a partition may be worked on twice, so a task must not replace what another made.
    """
    if engine.kind == "local":
        return map(task, partitions)
    return cluster().map_partitions(engine, task, partitions)


def cluster() -> ModuleType:
    """The module of the cluster, imported only where it is chosen; StageError if it is missing."""
    try:
        from . import cluster
    except ModuleNotFoundError as error:
        raise StageError(
            f"engine.kind is dask and {error.name} is not installed: uv sync --group cluster"
        ) from None
    return cluster
