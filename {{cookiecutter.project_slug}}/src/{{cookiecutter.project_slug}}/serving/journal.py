"""The prediction log: one JSON line a request, of allowed fields only, to stdout or into a file.

Lines wait until the turn of the event loop that answered their requests ends, then they are written
together: a killed process loses those of one turn, a stopped one none.
"""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from select import PIPE_BUF
from typing import Any

from msgspec.json import encode

log = logging.getLogger(__name__)


class Journal:
    """Whole lines by each system call, so that several workers can share a file or a pipe."""

    def __init__(self, target: str, fields: Sequence[str]) -> None:
        """Open the log: a path, or "-" for stdout; raises OSError."""
        self.fields = tuple(fields)
        self.waiting: list[bytes] = []
        self._prefix = b""  # ends a line that a full disk cut
        self._failing = False
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file = sys.stdout.fileno() if target == "-" else os.open(target, flags, 0o640)

    def add(self, record: dict[str, Any]) -> None:
        """Keep the allowed fields as a line that waits."""
        self.waiting.append(encode({name: record.get(name) for name in self.fields}) + b"\n")

    def flush(self) -> int:
        """Write what waits; the number of lines lost, as a full disk must not stop the service."""
        lines, self.waiting = self.waiting, []
        return sum(map(self._append, _batches(lines)))

    def _append(self, lines: list[bytes]) -> int:
        content = self._prefix + b"".join(lines)
        try:
            written = os.write(self._file, content)
        except OSError as error:
            self._tell(error.strerror or str(error))
            return len(lines)
        if written < len(content):
            self._tell("only a part of a line was written")
            whole = content[len(self._prefix) : written].count(b"\n")
            self._prefix = b"\n"
            return len(lines) - whole
        self._prefix, self._failing = b"", False
        return 0

    def _tell(self, reason: str) -> None:
        if not self._failing:
            log.error("the prediction log fails: %s", reason)
        self._failing = True


def _batches(lines: list[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for line in lines:
        if batch and size + len(line) >= PIPE_BUF:  # less is never torn apart in a shared pipe
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += len(line)
    if batch:
        yield batch
