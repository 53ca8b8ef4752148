"""Build the service's image, or the dashboard's, with the engine that is here, by `make image`.

The environment may give PYTHON_IMAGE (the base), IMAGE (its name), BUILD_FLAGS (for the engine) and
SSL_CERT_FILE (certificates of a network that needs its own; they do not stay in the image).
"""

import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

from . import DeliveryError
from .git import git

DASHBOARD = "dashboard"  # a stage of the Dockerfile and a group of libraries
HINT = "`make reproduce` or `dvc pull`, then commit dvc.lock"


def build(name: str = "", part: str = "") -> int:
    """Build an image under a name with docker, podman or buildah; 0 or 1.

    A part is a stage of the Dockerfile; without one it is the service.
    """
    facts = read_facts()
    given = os.environ.get("IMAGE") or f"{called(part)}:{tag_of(facts['GIT_REVISION'])}"
    words = command(find_engine(), facts, name or given, part)
    variables = os.environ | {"DOCKER_BUILDKIT": "1"}
    return 1 if subprocess.run(words, env=variables, stdout=sys.stderr).returncode else 0


def project() -> str:
    """The name of the project."""
    return tomllib.loads(Path("pyproject.toml").read_text())["project"]["name"]


def parts() -> list[str]:
    """What a version consists of: the service, and its dashboard where a password closes it."""
    return ["", DASHBOARD] if os.environ.get("DASHBOARD_PASSWORD") else [""]


def called(part: str) -> str:
    """The name of the image of a part."""
    return "-".join(filter(None, [project(), part]))


def repository(part: str = "") -> str:
    """The name of the image in the registry, without a tag.

    Raises:
        DeliveryError: IMAGE_REGISTRY is not set.
    """
    registry = os.environ.get("IMAGE_REGISTRY", "").rstrip("/")
    if not registry:
        raise DeliveryError("IMAGE_REGISTRY names no registry: set it, as in ghcr.io/team", 2)
    return f"{registry}/{called(part)}".lower()


def tag_of(commit: str) -> str:
    """The tag of a commit's image."""
    return commit[:12]


def find_engine() -> str:
    """The first engine that answers; a docker without its daemon does not.

    Raises:
        DeliveryError: none answers.
    """
    for name in ("docker", "podman", "buildah"):
        if shutil.which(name):
            answer = subprocess.run([name, "info"], capture_output=True)
            if not answer.returncode and b"ERROR: " not in answer.stderr:
                return name
    raise DeliveryError("there is no engine: install podman, docker (and start it) or buildah", 2)


def read_facts() -> dict[str, str]:
    """What the image is made of: the build's arguments.

    Raises:
        DeliveryError: dvc.lock does not name it.
    """
    lock = Path("dvc.lock")
    stages = yaml.safe_load(lock.read_text())["stages"] if lock.exists() else {}
    outs = {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}
    try:
        return {
            "MODEL_HASH": outs["models"],
            "FEATURES_HASH": outs["data/features/online.lmdb"],
            "DATA_HASH": outs["data/raw"],
            "GIT_REVISION": revision(),
            "GIT_TIME": committed_at(),
        }
    except KeyError:
        sentence = f"dvc.lock does not name the model and the features: {HINT}"
        raise DeliveryError(sentence, 2) from None


def revision() -> str:
    """The commit, with a mark if the tree is not that of the commit."""
    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("-changed" if changed else "")
    except DeliveryError:  # no repository, or no commit yet
        return "unknown"


def committed_at() -> str:
    """When the commit was made: models hold no time, and the same commit gives the same image."""
    try:
        return git("log", "-1", "--format=%cI")
    except DeliveryError:
        return "unknown"


def command(engine: str, facts: dict[str, str], image: str, part: str) -> list[str]:
    """The engine's command line; every engine reads the same Dockerfile."""
    given = dict(facts)
    if base := os.environ.get("PYTHON_IMAGE"):
        given["PYTHON_IMAGE"] = base
    words = [engine, "build", "--tag", image]
    words += ["--target", part] if part else []
    if engine != "docker":  # their own format has no HEALTHCHECK
        words += ["--format", "docker", "--layers"]
    if certificates := os.environ.get("SSL_CERT_FILE"):
        words += ["--secret", f"id=certificates,src={certificates}"]
    for key, value in given.items():
        words += ["--build-arg", f"{key}={value}"]
    return [*words, *shlex.split(os.environ.get("BUILD_FLAGS", "")), "."]
