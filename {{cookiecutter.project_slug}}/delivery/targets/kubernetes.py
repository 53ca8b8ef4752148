"""A Kubernetes cluster, by kubectl alone: one namespace an environment, one Deployment a version.

The annotations of the pods are the record: `status` reads what the cluster runs, and `undo` is the
cluster's own. The dashboard is a Deployment of its own; it follows the version that is kept.
"""

import json
import os
import subprocess
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from .. import DeliveryError
from ..environments import REVIEW, Environment
from ..image import DASHBOARD, project
from . import ASK, PATHS, Deployed, require_abandoned

SECRETS = ("DEPLOY_KUBECONFIG",)  # of CI
OVERLAYS = Path("deploy/kubernetes/overlays")
STABLE, CANARY = "service", "service-canary"
NAME = "app.kubernetes.io/name"
KINDS = "deployments,services,ingresses,networkpolicies,secrets"  # of a dashboard
LOCK = "delivery-lock"


@contextmanager
def lock(environment: Environment) -> Generator[None]:
    """Hold a ConfigMap, which the cluster makes only once; DeliveryError if it is held."""
    names = _kubectl(environment, "get", "namespaces", "--output", "name")
    if f"namespace/{_namespace(environment)}" not in names.split():
        _kubectl(environment, "create", "namespace", _namespace(environment))
    here = ("--namespace", _namespace(environment))
    held = _kubectl(
        environment, "get", "configmap", LOCK, *here, "--ignore-not-found", "--output", "json"
    )
    if held:
        require_abandoned(environment, json.loads(held)["metadata"]["creationTimestamp"])
        _kubectl(environment, "delete", "configmap", LOCK, *here, "--ignore-not-found")
    _kubectl(environment, "create", "configmap", LOCK, *here)
    try:
        yield
    finally:
        with suppress(DeliveryError):
            _kubectl(environment, "delete", "configmap", LOCK, *here, "--ignore-not-found")


def up(environment: Environment, wanted: Deployed) -> None:
    """Start a version; Kubernetes gives it requests only where its own probes pass."""
    documents = _render(environment, wanted)
    if wanted.share < 100:
        documents = [d for d in documents if d["kind"] == "Deployment"]
        _shrink(documents[0], environment, wanted.share)
    _apply(environment, documents)


def ask(environment: Environment, wanted: Deployed) -> str:
    """What a pod of a version says of itself; DeliveryError says why it is not ready."""
    here = ("--namespace", _namespace(environment))
    chosen = ("--selector", f"slot={wanted.stamp}", "--output", "name")
    pods = _kubectl(environment, "get", "pods", *here, *chosen).split()
    if not pods:
        raise DeliveryError(f"no pod of {wanted.version} runs")
    return _kubectl(environment, "exec", pods[0], *here, "--", "python", "-c", ASK, *PATHS[""])


def keep(environment: Environment, wanted: Deployed) -> None:
    """Wait until every pod is of the version; without a share, its dashboard follows it.

    A canary beside it then goes.
    """
    here = ("--namespace", _namespace(environment))
    name = STABLE if wanted.share == 100 else CANARY
    wait = f"--timeout={environment.ready_seconds}s"
    _kubectl(environment, "rollout", "status", f"deployment/{name}", *here, wait)
    if wanted.share < 100:
        return
    _kubectl(environment, "delete", "deployment", CANARY, *here, "--ignore-not-found")
    _show(environment, wanted)
    if wanted.dashboard:
        _kubectl(environment, "rollout", "status", f"deployment/{DASHBOARD}", *here, wait)


def undo(environment: Environment, wanted: Deployed) -> None:
    """Take a version away; what served before goes on, and is no more the version before."""
    here = ("--namespace", _namespace(environment))
    if wanted.share < 100:
        _kubectl(environment, "delete", "deployment", CANARY, *here, "--ignore-not-found")
        return
    if wanted not in status([environment]):  # it never arrived
        return
    if not (before := previous(environment)):
        down(environment)
        return
    _kubectl(environment, "rollout", "undo", f"deployment/{STABLE}", *here)
    chosen = ("--selector", f"slot={wanted.stamp}", "--ignore-not-found")
    _kubectl(environment, "delete", "replicasets", *here, *chosen)
    if wanted.dashboard:
        _show(environment, before)


def down(environment: Environment) -> None:
    """Take an environment away; there may be none."""
    _kubectl(environment, "delete", "namespace", _namespace(environment), "--ignore-not-found")


def previous(environment: Environment) -> Deployed | None:
    """The version of the last but one revision that the cluster remembers."""
    here = ("--namespace", _namespace(environment), "--selector", "track=stable")
    found = _kubectl(environment, "get", "replicasets", *here, "--output", "json")
    number = "deployment.kubernetes.io/revision"
    rows = json.loads(found)["items"]
    rows.sort(key=lambda row: int(row["metadata"]["annotations"][number]))
    return _read(rows[-2]) if len(rows) > 1 else None


def status(places: Iterable[Environment]) -> list[Deployed]:
    """What serves on the clusters of some environments."""
    found: list[Deployed] = []
    chosen = ("--selector", f"app.kubernetes.io/part-of={_slug()},{NAME}={STABLE}")
    for place in {environment.at: environment for environment in places}.values():
        words = ("get", "deployments", "--all-namespaces", *chosen, "--output", "json")
        found += map(_read, json.loads(_kubectl(place, *words))["items"])
    return sorted(found, key=lambda deployed: (deployed.environment, -deployed.share))


def _read(document: dict[str, Any]) -> Deployed:
    return Deployed.read(document["spec"]["template"]["metadata"]["annotations"])


def _show(environment: Environment, wanted: Deployed) -> None:
    """Bring up the dashboard of a version; without one, take away what is there."""
    here = ("--namespace", _namespace(environment), "--ignore-not-found")
    if wanted.dashboard:
        _apply(environment, _render(environment, wanted, DASHBOARD))
    elif _kubectl(environment, "get", "deployment", DASHBOARD, *here, "--output", "json"):
        _kubectl(environment, "delete", KINDS, "--selector", f"{NAME}={DASHBOARD}", *here)


def _apply(environment: Environment, documents: list[dict[str, Any]]) -> None:
    text = yaml.safe_dump_all(documents, sort_keys=False)
    _kubectl(environment, "apply", "--filename", "-", stdin=text)


def _render(environment: Environment, wanted: Deployed, part: str = "") -> list[dict[str, Any]]:
    name = REVIEW if environment.name.startswith(f"{REVIEW}-") else environment.name
    if not (OVERLAYS / name).is_dir():
        raise DeliveryError(f"{OVERLAYS / name} is missing: copy the folder of staging", 2)
    documents = []
    for document in yaml.safe_load_all(_kubectl(environment, "kustomize", str(OVERLAYS / name))):
        name_of_part = document["metadata"].get("labels", {}).get(NAME)
        if (name_of_part == DASHBOARD) == (part == DASHBOARD):
            _place(document, environment, wanted, part)
            documents.append(document)
    return documents


def _place(document: dict[str, Any], environment: Environment, wanted: Deployed, part: str) -> None:
    metadata, spec = document["metadata"], document.get("spec", {})
    metadata.setdefault("labels", {})["app.kubernetes.io/part-of"] = _slug()
    if document["kind"] == "Namespace":
        metadata["name"] = _namespace(environment)
        return
    metadata["namespace"] = _namespace(environment)
    if document["kind"] == "Deployment":
        pod = spec["template"]
        pod["metadata"].setdefault("annotations", {}).update(wanted.labels())
        if part:
            image = f"{wanted.image}-{part}@{wanted.dashboard}"
        else:
            image = f"{wanted.image}@{wanted.digest}"
            pod["metadata"]["labels"]["slot"] = wanted.stamp
        pod["spec"]["containers"][0]["image"] = image
    if document["kind"] == "Secret" and part:
        document["stringData"] = {"DASHBOARD_PASSWORD": os.environ["DASHBOARD_PASSWORD"]}
    if document["kind"] == "Ingress":
        address = urlsplit(wanted.address(part))
        spec["rules"][0]["host"] = address.hostname
        if address.scheme == "https":
            spec["tls"] = [{"hosts": [address.hostname], "secretName": "service-tls"}]


def _shrink(deployment: dict[str, Any], environment: Environment, share: int) -> None:
    here = ("--namespace", _namespace(environment), "--output", "json")
    stable = json.loads(_kubectl(environment, "get", "deployment", STABLE, *here))
    pods = stable["spec"]["replicas"] * share / (100 - share)
    deployment["metadata"]["name"] = CANARY
    deployment["spec"]["replicas"] = max(1, round(pods))
    deployment["spec"]["selector"]["matchLabels"]["track"] = "canary"
    deployment["spec"]["template"]["metadata"]["labels"]["track"] = "canary"


def _slug() -> str:
    return project().replace("_", "-").lower()


def _namespace(environment: Environment) -> str:
    return f"{_slug()}-{environment.name}"


def _kubectl(environment: Environment, *arguments: str, stdin: str | None = None) -> str:
    context = ["--context", environment.at] if environment.at else []
    command = ["kubectl", *context, *arguments]
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True)
    except FileNotFoundError:
        raise DeliveryError("kubectl is not installed, and deploys need it", 2) from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["it failed"]
        place = environment.at or "the current cluster"
        raise DeliveryError(f"kubectl {arguments[0]} on {place}: {lines[-1].strip()}")
    return done.stdout.strip()
