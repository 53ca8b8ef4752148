"""A rendered project's service as a process, and clients that ask it without a pause."""

import json
import os
import re
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self


@contextmanager
def serving(project: Path, folder: Path, **environment: str) -> Iterator[str]:
    """Serve a project that is set up; the address. What it writes goes into the folder."""
    (package,) = (path.parent for path in project.glob("src/*/__init__.py"))
    variables = os.environ | {"PORT": "0"} | environment
    command = [project / ".venv/bin/python", "-m", f"{package.name}.serve"]
    log = folder / "service.err"
    with (folder / "service.out").open("wb") as out, log.open("wb") as err:
        process = subprocess.Popen(command, cwd=project, env=variables, stdout=out, stderr=err)
    try:
        while not (found := re.search(r"running on (http://\S+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        yield found[1]
    finally:
        process.terminate()
        process.wait(timeout=30)


def ask(address: str, path: str, content: Any = None) -> tuple[int, Any]:
    """GET, or POST some content as JSON; the status and the JSON that came back."""
    body = None if content is None else json.dumps(content).encode()
    try:
        with urllib.request.urlopen(f"{address}{path}", body, timeout=20) as response:  # noqa: S310
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


class Load:
    """Clients that ask for rankings until the end of the block, each on connections of its own."""

    def __init__(self, address: str, clients: int = 3) -> None:
        """Start them."""
        self.statuses: list[int] = []
        self.faults: list[OSError] = []
        self._address, self._clients = address, clients

    def __enter__(self) -> Self:
        """Start asking."""
        self._end = threading.Event()
        self._pool = ThreadPoolExecutor(self._clients)
        for _ in range(self._clients):
            self._pool.submit(self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop asking."""
        self._end.set()
        self._pool.shutdown()

    def _ask(self) -> None:
        while not self._end.is_set():
            try:
                self.statuses.append(ask(self._address, "/rank", {"player_id": 7})[0])
            except OSError as error:
                self.faults.append(error)
                time.sleep(0.02)
