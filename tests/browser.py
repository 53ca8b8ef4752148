"""A headless Chromium driven over a pipe by its own protocol: no port, no driver, no download."""

import base64
import itertools
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)


class Page:
    """One page, and what it asked of the network."""

    def __init__(self, commands: int, replies: int) -> None:
        """Attach to a new page over the two ends of the pipe."""
        self._commands, self._replies = commands, os.fdopen(replies, "rb")
        self._numbers, self._session = itertools.count(1), None
        self.requested: list[str] = []
        self.errors: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime"):
            self._call(f"{domain}.enable")

    def open(self, url: str) -> None:
        """Go there; the page may still be loading."""
        self._call("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited."""
        answer = self._call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, condition: str, seconds: float = 10) -> None:
        """Wait for a JavaScript condition."""
        end = time.monotonic() + seconds
        while not self.evaluate(f"Boolean({condition})"):
            assert time.monotonic() < end, f"waited in vain for {condition}"
            time.sleep(0.02)

    def type(self, text: str) -> None:
        """Type into what has the focus, as a keyboard would."""
        for character in text:
            self._call("Input.dispatchKeyEvent", type="char", text=character)

    def press_enter(self) -> None:
        """Press the Enter key."""
        self._call("Input.dispatchKeyEvent", type="keyDown", key="Enter", code="Enter", text="\r")

    def screenshot(self, path: Path) -> None:
        """Keep what is seen as a PNG."""
        data = self._call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def _call(self, method: str, **arguments: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": arguments}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            reply = self._read()
            if reply.get("id") == number:
                assert "error" not in reply, reply
                return reply["result"]

    def _read(self) -> dict[str, Any]:
        content = bytearray()
        while (byte := self._replies.read(1)) != b"\0":
            assert byte, "the browser ended"
            content += byte
        reply = json.loads(content)
        if reply.get("method") == "Network.requestWillBeSent":
            self.requested.append(reply["params"]["request"]["url"])
        if reply.get("method") == "Runtime.exceptionThrown":
            self.errors.append(str(reply["params"]["exceptionDetails"]))
        return reply


@contextmanager
def browse(program: str, folder: Path) -> Iterator[Page]:
    """A new page of a new browser whose profile is in the folder."""
    read_commands, commands = os.pipe()
    replies, write_replies = os.pipe()
    # the browser reads from descriptor 3 and writes to 4
    shell = f'exec "$0" "$@" 3<&{read_commands} 4>&{write_replies}'
    process = subprocess.Popen(
        ["/bin/bash", "-c", shell, program, *FLAGS, f"--user-data-dir={folder}"],
        pass_fds=(read_commands, write_replies),
        stderr=subprocess.DEVNULL,
    )
    os.close(read_commands)
    os.close(write_replies)
    try:
        yield Page(commands, replies)
    finally:
        process.kill()
        process.wait()
        os.close(commands)
