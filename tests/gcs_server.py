"""An emulator of Google Cloud Storage that lets in one service account.

`python gcs_server.py PORT FOLDER` writes the key files good.json and wrong.json into the folder.
The emulator lets in everybody; before it stand the check of a token, and what gives tokens.
"""

import json
import sys
from functools import partial
from http.server import HTTPServer
from io import BytesIO
from mmap import ACCESS_READ, mmap
from pathlib import Path
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from gcp_storage_emulator.exceptions import BadRequest, NotFound
from gcp_storage_emulator.handlers import buckets
from gcp_storage_emulator.server import RequestHandler
from gcp_storage_emulator.settings import STORAGE_DIR
from gcp_storage_emulator.storage import Storage
from google.auth import jwt

# gcsfs ends lines by \n: an object's last byte \r and that would pass for the end of a line
GCSFS = b"--==0==\nContent-Type: application/json"


class InTurn(HTTPServer):
    """One request after the other: the emulator loses objects to requests at the same time."""

    request_queue_size = 128


class Lean(Storage):
    """Touches an object once: not again for each chunk, each range, and each other object."""

    def _write_config_to_file(self) -> None:
        pass

    def get_file(self, bucket_name: str, file_name: str, show_error: bool = True) -> bytes | mmap:
        """The bytes, read where they are asked for."""
        path = Path(self._data_dir, STORAGE_DIR, self._object_path(bucket_name, file_name))
        if not path.is_file():
            raise NotFound
        with path.open("rb") as file:
            return mmap(file.fileno(), 0, access=ACCESS_READ) if path.stat().st_size else b""

    def add_to_resumable_upload(
        self,
        file_id: str,
        content: bytes,
        total_size: int | None = None,
        expected_start: int | None = None,
    ) -> bytes | None:
        """Append a chunk; the whole once it is there."""
        path, size = self._part(file_id), self.get_resumable_byte_count(file_id)
        if expected_start not in (None, size):
            raise BadRequest(f"expected {size}, got {expected_start}")
        with path.open("ab") as file:
            size += file.write(content or b"")
        if total_size is None or size < total_size:
            return None
        whole = path.read_bytes()
        path.unlink()
        return whole

    def get_resumable_byte_count(self, file_id: str) -> int:
        """How many bytes of it are there."""
        path = self._part(file_id)
        return path.stat().st_size if path.exists() else 0

    def _part(self, file_id: str) -> Path:
        return Path(self._data_dir, self.safe_id(file_id))


class Guarded(RequestHandler):
    """Answers to whom it gave its token."""

    certificate, token = b"", "let-me-in"

    def do_POST(self) -> None:  # noqa: N802 (the name is the base's)
        """Exchange a signed claim for a token, or post to the emulator."""
        if self.path != "/token":
            return super().do_POST()
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        token = self.token
        try:
            jwt.decode(parse_qs(body)["assertion"][0], certs=self.certificate, verify=True)
        except ValueError:
            token = "of-a-stranger"  # noqa: S105
        return self._say(200, {"access_token": token, "expires_in": 3600})

    def parse_request(self) -> bool:
        """Refuse a request without the good token before it is read."""
        if not super().parse_request() or not self._has_arrived():
            return False
        if self.path == "/token" or self.headers["Authorization"] == f"Bearer {self.token}":
            return True
        text = "The account does not have storage.objects access to the bucket."
        self._say(403, {"error": {"code": 403, "message": text}})
        return False

    def _has_arrived(self) -> bool:
        """Read the body in full, as the real service does: the emulator keeps half objects."""
        size = int(self.headers["Content-Length"] or 0)
        body = self.rfile.read(size)
        arrived = len(body) == size
        if body.startswith(GCSFS):
            body = b"\r\n--".join(body.rsplit(b"\n--", 1))
            self.headers.replace_header("Content-Length", str(len(body)))
        self.rfile = BytesIO(body)
        return arrived

    def _say(self, status: int, content: dict) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def write_key(path: Path, address: str) -> rsa.RSAPrivateKey:
    """Write a service account's key file; the key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    account = {
        "type": "service_account",
        "client_email": "ranker@example.iam.gserviceaccount.com",
        "private_key": pem.decode(),
        "private_key_id": path.stem,
        "project_id": "example",
        "token_uri": f"{address}/token",
    }
    path.write_text(json.dumps(account))
    return key


def main() -> None:
    """Serve until the end."""
    port, folder = int(sys.argv[1]), Path(sys.argv[2])
    good, _ = (
        write_key(folder / f"{name}.json", f"http://127.0.0.1:{port}") for name in ("good", "wrong")
    )
    Guarded.certificate = good.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    storage = Lean(use_memory_fs=False, data_dir=str(folder / "gcs"))
    buckets.create_bucket("my-bucket", storage)
    InTurn(("127.0.0.1", port), partial(Guarded, storage)).serve_forever()


if __name__ == "__main__":
    main()
