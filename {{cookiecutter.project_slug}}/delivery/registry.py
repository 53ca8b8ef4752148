"""A container registry over its HTTP API: which image has a tag, what is it made of.

It needs no engine. Whom it asks as: REGISTRY_USER and REGISTRY_PASSWORD, or what `docker login` or
`podman login` wrote down.
"""

import base64
import json
import os
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from hashlib import sha256
from http.client import HTTPMessage
from pathlib import Path

from . import DeliveryError

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER = "application/vnd.docker.distribution.manifest"
ACCEPT = ", ".join((MANIFEST, f"{DOCKER}.v2+json", INDEX, f"{DOCKER}.list.v2+json"))
EMPTY = "application/vnd.oci.empty.v1+json"


class Registry:
    """One repository of a registry, such as ghcr.io/team/ranker."""

    def __init__(self, image: str) -> None:
        """The repository of an image; raises DeliveryError if its name holds no registry."""
        self.host, _, self.repository = image.partition("/")
        if not re.search(r"[.:]|^localhost$", self.host) or not self.repository:
            sentence = f"IMAGE_REGISTRY names no registry with a folder: {image}, not ghcr.io/team"
            raise DeliveryError(sentence, 2)
        local = re.match(r"(localhost|127\.[\d.]+|\[::1\])(:|$)", self.host)
        self._url = f"{'http' if local else 'https'}://{self.host}/v2/{self.repository}"
        self._login = ""

    def digest(self, reference: str) -> str | None:
        """The digest behind a tag or a digest; None if there is none."""
        found = self._get(f"manifests/{reference}")
        return digest(found) if found is not None else None

    def labels(self, reference: str) -> dict[str, str]:
        """The labels of an image; of one for several processors, the first one's.

        Raises:
            DeliveryError: the registry has lost it.
        """
        manifest = self._json(f"manifests/{reference}")
        if "manifests" in manifest:
            manifest = self._json(f"manifests/{manifest['manifests'][0]['digest']}")
        return self._json(f"blobs/{manifest['config']['digest']}")["config"].get("Labels") or {}

    def tag(self, reference: str, name: str) -> None:
        """Give an image a further tag; nothing is uploaded."""
        manifest = self._get(f"manifests/{reference}") or b""
        self._put(f"manifests/{name}", manifest, json.loads(manifest).get("mediaType", MANIFEST))

    def attached(self, subject: str, kind: str) -> list[str]:
        """Digests of the artifacts of a kind that are attached to an image."""
        return [row["digest"] for row in self._referrers(subject) if row["artifactType"] == kind]

    def attach(self, subject: str, kind: str, content: bytes) -> str:
        """Attach a file to an image as the OCI specification says; the artifact's digest."""
        image = self._get(f"manifests/{subject}") or b""
        about = {"mediaType": json.loads(image).get("mediaType", MANIFEST)}
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": kind,
            "config": self._upload(b"{}", EMPTY),
            "layers": [self._upload(content, kind)],
            "subject": about | {"digest": subject, "size": len(image)},
        }
        body = json.dumps(manifest).encode()
        answer = self._put(f"manifests/{digest(body)}", body, MANIFEST)
        if "OCI-Subject" not in answer:  # an older registry: the list of artifacts is a tag
            row = {"mediaType": MANIFEST, "digest": digest(body), "size": len(body)}
            rows = [*self._referrers(subject), row | {"artifactType": kind}]
            index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": rows}
            self._put(f"manifests/{_list(subject)}", json.dumps(index).encode(), INDEX)
        return digest(body)

    def _referrers(self, subject: str) -> list[dict]:
        found = self._get(f"referrers/{subject}") or self._get(f"manifests/{_list(subject)}")
        return json.loads(found)["manifests"] if found else []

    def _json(self, path: str) -> dict:
        found = self._get(path)
        if found is None:
            raise DeliveryError(f"{self.host} has no {path} of {self.repository} any more")
        return json.loads(found)

    def _get(self, path: str) -> bytes | None:
        try:
            return self._send("GET", path, None, {"Accept": ACCEPT})[0]
        except FileNotFoundError:
            return None

    def _put(self, path: str, body: bytes, kind: str) -> HTTPMessage:
        return self._send("PUT", path, body, {"Content-Type": kind})[1]

    def _upload(self, content: bytes, kind: str) -> dict:
        name = digest(content)
        place = self._send("POST", "blobs/uploads/", b"", {})[1]["Location"]
        place += f"{'&' if '?' in place else '?'}digest={urllib.parse.quote(name)}"
        self._put(place, content, "application/octet-stream")
        return {"mediaType": kind, "digest": name, "size": len(content)}

    def _send(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[bytes, HTTPMessage]:
        url = urllib.parse.urljoin(f"{self._url}/", path)
        given = dict(headers) | ({"Authorization": self._login} if self._login else {})
        request = urllib.request.Request(url, body, given, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            if error.code == 401 and not self._login:
                self._login = self._log_in(error.headers.get("WWW-Authenticate", ""))
                return self._send(method, path, body, headers)
            if error.code == 404:
                raise FileNotFoundError(path) from None
            hint = f": `docker login {self.host}`" if error.code in (401, 403) else ""
            sentence = f"{self.host} says {error.code} {error.reason} for {self.repository}{hint}"
            raise DeliveryError(sentence, 2 if hint else 1) from None
        except OSError as error:
            reason = getattr(error, "reason", error)
            sentence = f"the registry {self.host} does not answer ({reason}): try again"
            raise DeliveryError(sentence) from None

    def _log_in(self, challenge: str) -> str:
        known = credentials(self.host)
        basic = f"Basic {base64.b64encode(known.encode()).decode()}" if known else ""
        if not challenge.lower().startswith("bearer"):
            return basic or "Basic "
        asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        query = {
            "service": asked.get("service", ""),
            "scope": f"repository:{self.repository}:pull,push",
        }
        url = f"{asked['realm']}?{urllib.parse.urlencode(query)}"
        request = urllib.request.Request(url, headers={"Authorization": basic} if basic else {})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                token = json.load(answer)
        except OSError as error:
            sentence = f"{self.host} refuses the login ({error}): `docker login {self.host}`"
            raise DeliveryError(sentence, 2) from None
        return f"Bearer {token.get('token') or token['access_token']}"


def digest(content: bytes) -> str:
    """The name of content in a registry."""
    return f"sha256:{sha256(content).hexdigest()}"


def credentials(host: str) -> str:
    """`user:password` for a registry from the environment or a login; empty if there is none."""
    if user := os.environ.get("REGISTRY_USER"):
        return f"{user}:{os.environ.get('REGISTRY_PASSWORD', '')}"
    home = Path(os.environ.get("DOCKER_CONFIG", Path.home() / ".docker"))
    run = os.environ.get("XDG_RUNTIME_DIR", f"/run/containers/{os.getuid()}")
    podman = os.environ.get("REGISTRY_AUTH_FILE") or f"{run}/containers/auth.json"
    for file in (Path(podman), home / "config.json"):
        config = json.loads(file.read_text()) if file.exists() else {}
        if auth := config.get("auths", {}).get(host, {}).get("auth"):
            return base64.b64decode(auth).decode()
        if helper := config.get("credHelpers", {}).get(host) or config.get("credsStore"):
            command = [f"docker-credential-{helper}", "get"]
            done = subprocess.run(command, input=host, capture_output=True, text=True)
            if not done.returncode:
                found = json.loads(done.stdout)
                return f"{found['Username']}:{found['Secret']}"
    return ""


def _list(subject: str) -> str:
    return subject.replace(":", "-")
