"""A real server on loopback for every answer of `storage`: one function each, in SERVERS.

Each gives a `Place`. What speaks TCP is reached through a `Wire`, which can be cut.
"""

import base64
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from conftest import ROOT, TOOLS

AZURITE = "azurite@3.37.0"


class Wire:
    """A TCP connection to a port that dies after so many bytes, and lives again when mended."""

    def __init__(self, target: int) -> None:
        """Listen on a port of its own."""
        self._target, self._left = target, None
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

    def cut_after(self, size: int) -> None:
        """Close everything once so many bytes went through, both directions together."""
        self._left = size

    @property
    def is_cut(self) -> bool:
        """Whether it was."""
        return self._left is not None and self._left <= 0

    def mend(self) -> None:
        """Listen on the same port again."""
        self._left = None
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

    def close(self) -> None:
        """Refuse and drop every connection."""
        for end in (self._listener, *self._open):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client = listener.accept()[0]
                server = socket.create_connection(("127.0.0.1", self._target))
                for end in (client, server):  # many small messages: none waits for another
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open |= {client, server}
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while block := source.recv(16_384):
                with self._lock:
                    if self._left is not None:
                        self._left -= len(block)
                        if self._left <= 0:
                            self.close()
                            return
                sink.sendall(block)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@dataclass
class Place:
    """Where a project may store, and how to get in."""

    url: Callable[[str], str]  # the answer of storage_url for a folder of that name
    absent: str | None  # the same in a bucket that does not exist; None where folders are made
    wire: Wire | None = None
    variables: dict[str, str] = field(default_factory=dict)
    wrong: dict[str, str] | None = None  # with other credentials; None where there are none


Needs = Callable[[str], str]


@contextmanager
def process(*command: str | Path, port: int, log: Path, **variables: str) -> Iterator[Wire]:
    """Run a server until the end of the block; gives a wire to its port."""
    with log.open("wb") as output:
        server = subprocess.Popen(
            [str(word) for word in command],
            env=os.environ | variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    wire = None
    try:
        for _ in range(600):
            assert server.poll() is None, log.read_text()
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        else:
            raise AssertionError(f"{command[0]} does not listen: {log.read_text()}")
        wire = Wire(port)
        yield wire
    finally:
        if wire:
            wire.close()
        with suppress(ProcessLookupError):  # a group, as `node` may be a script around the server
            os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait(10)


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def local(folder: Path, needs: Needs) -> Iterator[Place]:
    """A directory."""
    yield Place(lambda name: str(folder / name), None)


@contextmanager
def serve_s3(folder: Path) -> Iterator[tuple[Wire, dict[str, str], dict[str, str]]]:
    """A server of S3 that checks signatures: its wire, good and wrong keys."""
    port, key, secret = free_port(), secrets.token_hex(10), secrets.token_hex(20)
    (folder / "s3" / "my-bucket").mkdir(parents=True)
    options = ("--addr", f"127.0.0.1:{port}", "--auth-key", f"{key},{secret}")
    command = (TOOLS / "rclone", "serve", "s3", *options, folder / "s3")
    good = {
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        # it sends the checksum of the whole object with any range of it
        "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
    }
    wrong = good | {"AWS_SECRET_ACCESS_KEY": secrets.token_hex(20)}
    with process(*command, port=port, log=folder / "log", RCLONE_CONFIG=os.devnull) as wire:
        yield wire, good, wrong


@contextmanager
def s3(folder: Path, needs: Needs) -> Iterator[Place]:
    """S3, found by the variable that Amazon's own clients follow."""
    with serve_s3(folder) as (wire, good, wrong):
        address = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{wire.port}"}
        url = "s3://my-bucket/team/{}".format
        absent = "s3://no-bucket/team"
        yield Place(url, absent, wire, good | address, wrong | address)


@contextmanager
def s3_compatible(folder: Path, needs: Needs) -> Iterator[Place]:
    """The same server, found by its address in the answer."""
    with serve_s3(folder) as (wire, good, wrong):
        url = f"http://127.0.0.1:{wire.port}/{{}}/team/{{}}".format
        yield Place(partial(url, "my-bucket"), url("no-bucket", "x"), wire, good, wrong)


@contextmanager
def gcs(folder: Path, needs: Needs) -> Iterator[Place]:
    """An emulator behind a check of the service account's token (`gcs_server.py`)."""
    port, url = free_port(), "gs://{}/team/{}".format
    command = (sys.executable, Path(__file__).with_name("gcs_server.py"), port, folder)
    with process(*command, port=port, log=folder / "log") as wire:
        address = {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{wire.port}"}
        address |= {"NO_GCE_CHECK": "true", "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}
        good, wrong = (
            address | {"GOOGLE_APPLICATION_CREDENTIALS": str(folder / f"{name}.json")}
            for name in ("good", "wrong")
        )
        yield Place(partial(url, "my-bucket"), url("no-bucket", "x"), wire, good, wrong)


@contextmanager
def azure(folder: Path, needs: Needs) -> Iterator[Place]:
    """Azurite, with an account of its own."""
    port, keys = free_port(), [base64.b64encode(secrets.token_bytes(64)).decode() for _ in "ab"]
    home = ROOT / "build" / AZURITE
    if not (home / "node_modules/.bin/azurite-blob").exists():
        install = [needs("npm"), "install", "--silent", "--no-audit", "--no-fund", "--prefix", home]
        subprocess.run([*install, AZURITE], check=True)
    options = ("--blobHost", "127.0.0.1", "--blobPort", port, "--location", folder / "azurite")
    options += ("--skipApiVersionCheck", "--disableTelemetry", "--silent")
    command = (needs("node"), home / "node_modules/.bin/azurite-blob", *options)
    accounts = {"AZURITE_ACCOUNTS": f"rankers:{keys[0]}"}
    with process(*command, port=port, log=folder / "log", **accounts) as wire:
        good, wrong = (
            "DefaultEndpointsProtocol=http;AccountName=rankers;AccountKey="
            f"{key};BlobEndpoint=http://127.0.0.1:{wire.port}/rankers;"
            for key in keys
        )
        from azure.storage.blob import BlobServiceClient

        BlobServiceClient.from_connection_string(good).create_container("my-container")
        url, name = "https://rankers.blob.core.windows.net/{}/team/{}".format, "AZURE_STORAGE_"
        name += "CONNECTION_STRING"
        absent = url("no-container", "x")
        yield Place(partial(url, "my-container"), absent, wire, {name: good}, {name: wrong})


@contextmanager
def ssh(folder: Path, needs: Needs) -> Iterator[Place]:
    """OpenSSH with a configuration of its own; one key may come in."""
    daemon, port = needs("/usr/sbin/sshd"), free_port()
    for name in ("host", "good", "wrong"):
        command = [needs("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", folder / name]
        subprocess.run(command, check=True)
    shutil.copy(folder / "good.pub", folder / "authorized")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    config = folder / "sshd_config"
    config.write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder / 'host'}\nPidFile none\n"
        f"AuthorizedKeysFile {folder / 'authorized'}\nSubsystem sftp internal-sftp\n"
        "StrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        "UsePAM no\nMaxStartups 100\nMaxSessions 100\n"
    )
    with process(daemon, "-D", "-e", "-f", config, port=port, log=folder / "log") as wire:
        url = f"ssh://{getpass.getuser()}@127.0.0.1:{wire.port}{folder}/{{}}".format
        good, wrong = ({"STORAGE_KEYFILE": str(folder / name)} for name in ("good", "wrong"))
        yield Place(url, None, wire, good, wrong)


@contextmanager
def webdav(folder: Path, needs: Needs) -> Iterator[Place]:
    """A WebDAV server with a password."""
    port, word = free_port(), secrets.token_hex(10)
    (folder / "dav").mkdir()
    options = ("--addr", f"127.0.0.1:{port}", "--user", "me", "--pass", word)
    options += ("--dir-cache-time", "1ms")  # folders are made behind its back
    command = (TOOLS / "rclone", "serve", "webdav", *options, folder / "dav")
    with process(*command, port=port, log=folder / "log", RCLONE_CONFIG=os.devnull) as wire:
        address = f"webdav://127.0.0.1:{wire.port}/{{}}".format
        good = {"STORAGE_USER": "me", "STORAGE_PASSWORD": word}

        def url(name: str) -> str:
            (folder / "dav" / name).mkdir(exist_ok=True)
            return address(name)

        yield Place(url, address("nowhere"), wire, good, good | {"STORAGE_PASSWORD": "guessed"})


SERVERS = {
    "local": local,
    "s3": s3,
    "s3_compatible": s3_compatible,
    "gcs": gcs,
    "azure": azure,
    "ssh": ssh,
    "webdav": webdav,
}


@contextmanager
def place(storage: str, folder: Path, needs: Needs) -> Iterator[Place]:
    """Start the server of a storage in an empty folder."""
    folder.mkdir(parents=True)
    with SERVERS[storage](folder, needs) as found:
        yield found


def has_buckets(url: str) -> bool:
    """Whether a missing place is told from missing objects: those that are no folders."""
    return not url.startswith(("/", "ssh://", "webdav://"))
