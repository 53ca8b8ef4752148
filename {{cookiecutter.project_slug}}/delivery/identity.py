"""Who this job is to the storage, the registry and the hosts; without secrets, nobody.

A cloud is shown the provider's own token for this job (OpenID Connect), so no key lies anywhere:
AWS_ROLE_ARN; AZURE_CLIENT_ID and AZURE_TENANT_ID; GOOGLE_IDENTITY_PROVIDER, the full name of a
workload identity provider, say as whom. The rest is done by each cloud's own library.
"""

import base64
import json
import os
import tempfile
from pathlib import Path

from . import DeliveryError, providers

AWS = "sts.amazonaws.com"
AZURE = "api://AzureADTokenExchange"
GOOGLE = "iam.googleapis.com"


def login(arguments: list[str]) -> int:
    """Let docker, podman, ssh and kubectl use what this job may know."""
    trust_ssh()
    if configuration := os.environ.get("DEPLOY_KUBECONFIG"):
        path = Path.home() / ".kube/config"
        if path.exists() and path.read_text() != configuration:
            raise DeliveryError(f"{path} is another one than DEPLOY_KUBECONFIG: move it away", 2)
        write(path, configuration)
    if password := os.environ.get("REGISTRY_PASSWORD"):
        registry = os.environ.get("IMAGE_REGISTRY", "").partition("/")[0]
        path = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        pair = f"{os.environ.get('REGISTRY_USER', '')}:{password}"
        account = {"auth": base64.b64encode(pair.encode()).decode()}
        known["auths"] = known.get("auths", {}) | {registry: account}
        write(path, json.dumps(known))
    return 0


def log_in_to_storage() -> None:
    """Give the clouds' libraries, and ssh, what they look for; tokens are short-lived."""
    trust_ssh()
    folder = Path(tempfile.gettempdir()) / f"identity-{os.getuid()}"
    if os.environ.get("AWS_ROLE_ARN") and (token := providers.find().identity(AWS)):
        os.environ["AWS_WEB_IDENTITY_TOKEN_FILE"] = write(folder / "aws", token)
    if os.environ.get("AZURE_CLIENT_ID") and (token := providers.find().identity(AZURE)):
        os.environ["AZURE_FEDERATED_TOKEN_FILE"] = write(folder / "azure", token)
    name = os.environ.get("GOOGLE_IDENTITY_PROVIDER")
    if name and (token := providers.find().identity(f"https://{GOOGLE}/{name}")):
        account = {
            "type": "external_account",
            "audience": f"//{GOOGLE}/{name}",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": "https://sts.googleapis.com/v1/token",
            "credential_source": {"file": write(folder / "google", token)},
        }
        place = write(folder / "google.json", json.dumps(account))
        os.environ["GOOGLE_APPLICATION_CREDENTIALS"] = place


def trust_ssh() -> None:
    """Put the job's key, and the hosts it may believe, beside what ssh knows already."""
    folder = Path.home() / ".ssh"
    if key := os.environ.get("SSH_PRIVATE_KEY"):
        write(folder / "delivery", key.strip() + "\n")
        append(folder / "config", "Host *\n  IdentityFile ~/.ssh/delivery\n")
    if hosts := os.environ.get("SSH_KNOWN_HOSTS"):
        append(folder / "known_hosts", hosts.strip() + "\n")


def append(path: Path, lines: str) -> None:
    """Add lines to a file, once."""
    known = path.read_text() if path.exists() else ""
    if lines not in known:
        write(path, known + ("\n" if known[-1:] not in ("", "\n") else "") + lines)


def write(path: Path, text: str) -> str:
    """Write for this user's eyes only, and return where."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)
    return str(path)
