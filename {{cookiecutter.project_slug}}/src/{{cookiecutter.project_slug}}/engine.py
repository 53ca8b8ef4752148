"""Where partitions are worked on: here, one after another, each within the memory limit."""

from collections.abc import Callable
from typing import TypeVar

from .stage import progress

Result = TypeVar("Result")


def map_partitions(task: Callable[[int], Result], partitions: int) -> list[Result]:
    """Run the task for each partition number; the results are in the order of the partitions."""
    return [task(number) for number in progress(range(partitions), unit="partition")]
