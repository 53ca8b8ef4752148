"""Images are found, tagged and described in a real registry, without an engine."""

import base64
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import registry
from conftest import ROOT

sys.dont_write_bytecode = True  # it would be rendered
sys.path.insert(0, str(ROOT / "{{cookiecutter.project_slug}}"))

from delivery import DeliveryError  # noqa: E402
from delivery.registry import Registry  # noqa: E402

KIND = "application/vnd.cyclonedx+json"


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path):
    for name in ("REGISTRY_USER", "REGISTRY_PASSWORD", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))


@pytest.fixture(scope="module")
def address(needs, tmp_path_factory):
    with registry.running(needs("docker-registry"), tmp_path_factory.mktemp("open")) as address:
        yield address


@pytest.fixture(scope="module")
def closed(needs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("closed")
    with registry.running(needs("docker-registry"), folder, closed=True) as address:
        yield address


def test_a_tag_is_resolved_to_its_digest_and_labels(address):
    digest = registry.push(address, "team/one", "abc", {"a": "1, with a comma"})
    found = Registry(f"{address}/team/one")
    assert found.digest("abc") == found.digest(digest) == digest
    assert found.labels(digest) == {"a": "1, with a comma"}
    assert found.digest("other") is None
    assert Registry(f"{address}/team/unknown").digest("abc") is None


def test_a_further_tag_is_the_same_image(address):
    digest = registry.push(address, "team/two", "abc", {})
    found = Registry(f"{address}/team/two")
    found.tag(digest, "v1.0")
    assert found.digest("v1.0") == digest


def test_a_file_is_attached_where_any_client_finds_it(address, needs):
    digest = registry.push(address, "team/three", "abc", {})
    found = Registry(f"{address}/team/three")
    assert found.attached(digest, KIND) == []
    artifact = found.attach(digest, KIND, b'{"components": []}')
    other = found.attach(digest, "text/plain", b"else")
    assert found.attached(digest, KIND) == [artifact]
    assert found.attached(digest, "text/plain") == [other]
    tag = digest.replace(":", "-")  # what the specification names where the API is missing
    command = [needs("skopeo"), "inspect", "--raw", "--tls-verify=false"]
    shown = subprocess.run(
        [*command, f"docker://{address}/team/three:{tag}"], capture_output=True, check=True
    )
    rows = json.loads(shown.stdout)["manifests"]
    assert [row["digest"] for row in rows] == [artifact, other]
    shown = subprocess.run(
        [*command, f"docker://{address}/team/three@{artifact}"], capture_output=True, check=True
    )
    manifest = json.loads(shown.stdout)
    assert manifest["subject"]["digest"] == digest
    assert manifest["artifactType"] == manifest["layers"][0]["mediaType"] == KIND


def test_it_asks_as_who_is_logged_in(closed, monkeypatch, tmp_path):
    found = Registry(f"{closed}/team/one")
    with pytest.raises(DeliveryError, match=f"401.*`docker login {closed}`") as refusal:
        found.digest("abc")
    assert refusal.value.code == 2
    login = {closed: {"auth": base64.b64encode(b"ci:secret").decode()}}
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker/config.json").write_text(json.dumps({"auths": login}))
    assert Registry(f"{closed}/team/one").digest("abc") is None
    monkeypatch.setenv("REGISTRY_USER", "ci")
    monkeypatch.setenv("REGISTRY_PASSWORD", "wrong")
    with pytest.raises(DeliveryError, match="401"):
        Registry(f"{closed}/team/one").digest("abc")
    monkeypatch.setenv("REGISTRY_PASSWORD", "secret")
    artifact = Registry(f"{closed}/team/one")
    assert artifact.attached("sha256:" + "0" * 64, KIND) == []


def test_it_asks_a_helper_that_keeps_the_password(closed, monkeypatch, tmp_path):
    helper = tmp_path / "docker-credential-safe"
    answer = json.dumps({"Username": "ci", "Secret": "secret"})
    helper.write_text(f"#!/bin/sh\nread host; [ \"$host\" = {closed} ] && echo '{answer}'\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker/config.json").write_text(json.dumps({"credsStore": "safe"}))
    assert Registry(f"{closed}/team/one").digest("abc") is None


class Tokens(BaseHTTPRequestHandler):
    """A registry that wants a token, as the large ones do."""

    asked: list[tuple[str, str]] = []  # noqa: RUF012

    def do_GET(self):
        login = self.headers.get("Authorization", "")
        self.asked.append((self.path, login))
        if self.path.startswith("/token"):
            self.say(200, b'{"access_token": "ticket"}')
        elif login == "Bearer ticket":
            self.say(200, b'{"schemaVersion": 2}')
        else:
            realm = f"http://{self.headers['Host']}/token"
            self.say(401, b"", f'Bearer realm="{realm}",service="here",scope="x"')

    def say(self, status, body, challenge=""):
        self.send_response(status)
        if challenge:
            self.send_header("WWW-Authenticate", challenge)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_it_fetches_a_token_where_one_is_wanted(monkeypatch):
    monkeypatch.setenv("REGISTRY_USER", "ci")
    monkeypatch.setenv("REGISTRY_PASSWORD", "secret")
    with ThreadingHTTPServer(("127.0.0.1", 0), Tokens) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            assert Registry(f"127.0.0.1:{server.server_port}/team/one").digest("abc")
        finally:
            server.shutdown()
    token = next(row for row in Tokens.asked if row[0].startswith("/token"))
    assert "scope=repository%3Ateam%2Fone%3Apull%2Cpush" in token[0]
    assert token[1] == f"Basic {base64.b64encode(b'ci:secret').decode()}"


def test_a_registry_that_does_not_answer_is_one_sentence():
    found = Registry(f"127.0.0.1:{registry.free_port()}/team/one")
    with pytest.raises(DeliveryError, match=r"does not answer .*refused.*: try again"):
        found.digest("abc")


def test_a_name_without_a_registry_is_refused():
    with pytest.raises(DeliveryError, match="names no registry"):
        Registry("team/one")
