"""A real registry on loopback, and images for it that nobody has to build."""

import json
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
# the password is "secret", by bcrypt
PASSWORD = "$2b$04$oR2BGc6s3KcQkM5UNVZgzOH1Lv.O/PwKEpZWMdRrf60tFC8/9BmZy"  # noqa: S105


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@contextmanager
def running(program: str, folder: Path, closed: bool = False, port: int = 0) -> Iterator[str]:
    """The address of a registry; a closed one knows user `ci` with the password `secret`."""
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    settings = {
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(folder)}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    if closed:
        (folder / "htpasswd").write_text(f"ci:{PASSWORD}\n")
        settings["auth"] = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
    (folder / "config.json").write_text(json.dumps(settings))
    with (folder / "log").open("ab") as log:
        command = [program, "serve", folder / "config.json"]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=10)


def push(address: str, repository: str, tag: str, labels: dict[str, str]) -> str:
    """Push an image that is nothing but labels; its digest."""
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Labels": labels}})
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, **_upload(address, repository, config.encode())},
        "layers": [],
    }
    body = json.dumps(manifest).encode()
    _send(f"http://{address}/v2/{repository}/manifests/{tag}", "PUT", body, MANIFEST)
    return f"sha256:{sha256(body).hexdigest()}"


def delete(address: str, repository: str, digest: str) -> None:
    """Delete an image."""
    _send(f"http://{address}/v2/{repository}/manifests/{digest}", "DELETE")


def _upload(address: str, repository: str, content: bytes) -> dict:
    name = f"sha256:{sha256(content).hexdigest()}"
    headers = _send(f"http://{address}/v2/{repository}/blobs/uploads/", "POST", b"")
    place = f"{headers['Location']}&digest={urllib.parse.quote(name)}"
    _send(place, "PUT", content, "application/octet-stream")
    return {"digest": name, "size": len(content)}


def _send(url: str, method: str, body: bytes | None = None, kind: str = ""):
    headers = {"Content-Type": kind} if kind else {}
    request = urllib.request.Request(url, body, headers, method=method)  # noqa: S310
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        return answer.headers
