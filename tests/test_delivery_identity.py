"""`delivery login`, and how a job enters the storage without a key."""

import base64
import json
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ENTER = "import json, os; from delivery import __main__, identity; __main__.forget_unset(); "
ENTER += "identity.log_in_to_storage(); "
ENTER += "print(json.dumps(dict(os.environ)))"
CLOUDS = {
    "AWS_ROLE_ARN": "arn:aws:iam::1:role/ci",
    "AZURE_CLIENT_ID": "client",
    "AZURE_TENANT_ID": "tenant",
    "GOOGLE_IDENTITY_PROVIDER": "projects/1/locations/global/workloadIdentityPools/p/providers/q",
}


@pytest.fixture
def home(tmp_path):
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def login(run, bake, home):
    """Run the verb in an empty home."""

    def login(**variables):
        command = (sys.executable, "-m", "delivery", "login")
        return run(*command, cwd=home, check=False, HOME=home, PYTHONPATH=bake(), **variables)

    return login


@pytest.fixture
def enter(run, bake, home, tmp_path):
    """Enter the storage on a provider; the variables that the clouds' libraries then read."""

    def enter(provider, **variables):
        home_and_code = {"HOME": home, "TMPDIR": tmp_path, "PYTHONPATH": bake(ci=provider)}
        done = run(sys.executable, "-c", ENTER, cwd=home, **home_and_code | variables)
        return json.loads(done.stdout)

    return enter


@contextmanager
def issuer(method, name):
    """Serve tokens that name their audience, or the connection that was asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.command, self.path, self.headers["Authorization"]))
            body = json.dumps({name: f"token {len(asked)}"}).encode()
            self.send_response(200 if self.command == method else 405)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/tokens/me?api-version=2.0", asked
        server.shutdown()


def test_login_without_secrets_writes_nothing(login, home):
    assert login(IMAGE_REGISTRY="ghcr.io/team", REGISTRY_PASSWORD="").returncode == 0
    assert login(REGISTRY_PASSWORD="$(REGISTRY_PASSWORD)").returncode == 0, "as Azure says it"
    assert list(home.iterdir()) == []


def test_login_lets_docker_ssh_and_kubectl_in(login, home):
    (home / ".docker").mkdir()
    (home / ".docker/config.json").write_text('{"auths": {"other.io": {"auth": "x"}}}')
    (home / ".ssh").mkdir()
    (home / ".ssh/config").write_text("Host mine\n  Port 22")
    secrets = {"REGISTRY_USER": "ci", "REGISTRY_PASSWORD": "pä:ss", "SSH_PRIVATE_KEY": "KEY\n\n"}
    secrets |= {"SSH_KNOWN_HOSTS": "host ssh-ed25519 A", "DEPLOY_KUBECONFIG": "apiVersion: v1"}
    for _ in range(2):
        done = login(IMAGE_REGISTRY="ghcr.io/team", **secrets)
        assert (done.returncode, done.stdout) == (0, "")
    auths = json.loads((home / ".docker/config.json").read_text())["auths"]
    assert base64.b64decode(auths["ghcr.io"]["auth"]).decode() == "ci:pä:ss"
    assert auths["other.io"] == {"auth": "x"}
    assert (home / ".ssh/delivery").read_text() == "KEY\n"
    config = (home / ".ssh/config").read_text()
    assert config == "Host mine\n  Port 22\nHost *\n  IdentityFile ~/.ssh/delivery\n"
    assert (home / ".ssh/known_hosts").read_text() == "host ssh-ed25519 A\n"
    assert (home / ".kube/config").read_text() == "apiVersion: v1"
    for name in (".ssh/delivery", ".kube/config"):
        assert (home / name).stat().st_mode & 0o77 == 0, name


def test_login_overwrites_no_cluster(login, home):
    (home / ".kube").mkdir()
    (home / ".kube/config").write_text("mine")
    done = login(DEPLOY_KUBECONFIG="theirs")
    assert done.returncode == 2
    assert done.stderr.startswith(f"ERROR: {home / '.kube/config'} is another one")
    assert (home / ".kube/config").read_text() == "mine"


def test_github_vouches_for_a_job_to_each_cloud(enter):
    with issuer("GET", "value") as (url, asked):
        token = {"ACTIONS_ID_TOKEN_REQUEST_URL": url, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "job"}
        told = enter("github", **CLOUDS, **token)
    assert {call[2] for call in asked} == {"Bearer job"}
    audiences = [call[1].split("audience=")[1] for call in asked]
    assert audiences[:2] == ["sts.amazonaws.com", "api%3A%2F%2FAzureADTokenExchange"]
    assert Path(told["AWS_WEB_IDENTITY_TOKEN_FILE"]).read_text() == "token 1"
    assert Path(told["AZURE_FEDERATED_TOKEN_FILE"]).read_text() == "token 2"
    google = json.loads(Path(told["GOOGLE_APPLICATION_CREDENTIALS"]).read_text())
    assert google["audience"] == f"//iam.googleapis.com/{CLOUDS['GOOGLE_IDENTITY_PROVIDER']}"
    assert Path(google["credential_source"]["file"]).read_text() == "token 3"


def test_azure_vouches_by_its_service_connection(enter):
    with issuer("POST", "oidcToken") as (url, asked):
        asks = {"SYSTEM_OIDCREQUESTURI": url.partition("?")[0], "SYSTEM_ACCESSTOKEN": "job"}
        asks |= {"AZURE_CLIENT_ID": "client", "AZURE_TENANT_ID": "tenant"}
        told = enter("azure", AZURE_SERVICE_CONNECTION_ID="7", **asks)
    ((_, path, _),) = asked
    assert "serviceConnectionId=7" in path
    assert Path(told["AZURE_FEDERATED_TOKEN_FILE"]).read_text() == "token 1"


@pytest.mark.parametrize(
    ("provider", "variable"),
    [("gitlab", "AWS_ID_TOKEN"), ("bitbucket", "BITBUCKET_STEP_OIDC_TOKEN")],
)
def test_others_hand_the_token_over(enter, provider, variable):
    told = enter(provider, AWS_ROLE_ARN="arn", **{variable: "the token"})
    assert Path(told["AWS_WEB_IDENTITY_TOKEN_FILE"]).read_text() == "the token"


@pytest.mark.parametrize("provider", ["github", "gitlab", "azure", "bitbucket", "none"])
def test_where_nobody_vouches_keys_are_left_as_they_are(enter, provider):
    told = enter(provider, AWS_ACCESS_KEY_ID="key", AWS_REGION="", **CLOUDS)
    assert told["AWS_ACCESS_KEY_ID"] == "key"
    assert "AWS_WEB_IDENTITY_TOKEN_FILE" not in told
    assert "AWS_REGION" not in told, "what is empty would count as set"
