"""A service as it is in production: a process of its own, asked over HTTP."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import yaml

from .conftest import PACKAGE


class Server:
    """A running service and what it wrote."""

    def __init__(self, folder, **environment):
        self.out, self.err = folder / "stdout", folder / "stderr"
        with self.out.open("ab") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"{PACKAGE}.serve"],
                cwd=folder,
                env=os.environ | {"PORT": "0"} | environment,
                stdout=out,
                stderr=err,
            )

    def wait(self, seconds=30):
        """Until it says where it listens."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(r"running on \S+:(\d+)", self.err.read_text())):
            assert self.process.poll() is None, self.err.read_text()
            assert time.monotonic() < deadline, self.err.read_text()
            time.sleep(0.02)
        self.port = int(found[1])
        while True:  # with several workers it says so before they listen
            try:
                self.connect().connect()
                return self
            except ConnectionRefusedError:
                assert time.monotonic() < deadline, self.err.read_text()
                time.sleep(0.02)

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def raw(self, method, path, body=None, headers=None):
        """One request; its status, headers and body."""
        connection = self.connect()
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, response.headers, content

    def get(self, path):
        status, _, content = self.raw("GET", path)
        return status, json.loads(content)

    def post(self, path, content, **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        status, _, answer = self.raw("POST", path, body, headers)
        return status, json.loads(answer)

    def metric(self, name):
        lines = self.raw("GET", "/metrics")[2].decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if re.match(name + "[ {]", line))

    def log(self):
        """The lines of the prediction log; a turn's lines are written after its answers."""
        if self.process.poll() is None:
            self.get("/healthz")
        return [json.loads(line) for line in self.out.read_text().splitlines()]

    def stop(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=30)


@contextmanager
def serving(folder, **environment):
    server = Server(folder, **environment)
    try:
        yield server.wait()
    finally:
        server.stop()


def refusal(folder, **environment):
    """The one line of a service that does not start."""
    server = Server(folder, **environment)
    try:
        assert server.process.wait(timeout=30) == 1
    finally:
        server.stop(signal.SIGKILL)
    text = server.err.read_text()
    assert text.startswith("ERROR: ")
    assert text.count("\n") == 1
    return text


def settings(folder, **changes):
    """Change the section serve of the folder's parameters."""
    path = folder / "params.yaml"
    content = yaml.safe_load(path.read_text())
    content["serve"] |= changes
    path.write_text(yaml.safe_dump(content))
