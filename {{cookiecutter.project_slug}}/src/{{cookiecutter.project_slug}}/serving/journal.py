"""The prediction log: one JSON line a request, of allowed fields only, to stdout or into a file."""

import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

from pydantic_core import to_json

log = logging.getLogger(__name__)


class Journal:
    """Lines appended by one system call each, so that several workers can share the file."""

    def __init__(self, target: str, fields: Sequence[str]) -> None:
        """Open the log: a path, or "-" for stdout; raises OSError."""
        self.fields = tuple(fields)
        self._prefix = b""  # ends a line that a full disk cut
        self._failing = False
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file = sys.stdout.fileno() if target == "-" else os.open(target, flags, 0o640)

    def write(self, record: dict[str, Any]) -> bool:
        """Append the allowed fields; False if it failed: a full disk must not stop the service."""
        allowed = {name: record.get(name) for name in self.fields}
        line = b"%b%b\n" % (self._prefix, to_json(allowed, inf_nan_mode="null"))
        try:
            written = os.write(self._file, line)
        except OSError as error:
            return self._fail(error.strerror or str(error))
        if written < len(line):
            self._prefix = b"\n"
            return self._fail("only a part of a line was written")
        self._prefix, self._failing = b"", False
        return True

    def _fail(self, reason: str) -> bool:
        if not self._failing:
            log.error("the prediction log fails: %s", reason)
        self._failing = True
        return False
