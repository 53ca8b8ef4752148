"""Give the image of a commit to the registry, once, with the list of what it holds."""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from . import DeliveryError, providers
from .git import git
from .image import DASHBOARD, build, find_engine, parts, repository, revision, tag_of
from .registry import Registry

SBOM = "application/vnd.cyclonedx+json"


def image(arguments: list[str]) -> int:
    """Build the service's image; with --push, the registry gets it under its commit and tags.

    It then gets the dashboard's, too, where DASHBOARD_PASSWORD is set.
    """
    parser = argparse.ArgumentParser("image", description=image.__doc__)
    parser.add_argument("--push", action="store_true", help="to IMAGE_REGISTRY; prints the digest")
    parser.add_argument("--part", default="", choices=[DASHBOARD], help="instead of the service")
    options = parser.parse_args(arguments)
    if not options.push or is_mute():
        return build(part=options.part)
    commit = revision()
    if not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise DeliveryError("only a commit is pushed: commit what changed, then try again", 2)
    for part in [options.part] if options.part else parts():
        print(push(commit, Registry(repository(part)), part))
    return 0


def is_mute() -> bool:
    """Whether this job has no registry to push to, as on a fork; one line says so."""
    context = providers.context()
    if context.event == "local" or (os.environ.get("IMAGE_REGISTRY") and not context.fork):
        return False
    reason = "a fork has no secret" if context.fork else "IMAGE_REGISTRY is not set"
    print(f"built, and not pushed: {reason}")
    return True


def push(commit: str, registry: Registry, part: str) -> str:
    """Build and push the image of the checked out commit, or find it; its digest.

    Raises:
        DeliveryError: it cannot be built or pushed, or a tag of this commit is another image's.
    """
    name = f"{repository(part)}:{tag_of(commit)}"
    if not (digest := registry.digest(tag_of(commit))):
        if build(name, part):
            raise DeliveryError(f"{name} was not built; the lines above say why")
        flags = shlex.split(os.environ.get("PUSH_FLAGS", ""))
        if subprocess.run([find_engine(), "push", *flags, name], stdout=sys.stderr).returncode:
            raise DeliveryError(f"{name} was not pushed: `docker login {registry.host}`", 2)
        if not (digest := registry.digest(tag_of(commit))):
            raise DeliveryError(f"{registry.host} lost {name}: try again")
    if not registry.attached(digest, SBOM):
        registry.attach(digest, SBOM, list_contents(part or "serve"))
    for version in git("tag", "--points-at", commit).split():
        tag = re.sub(r"[^\w.-]", "-", version)
        if registry.digest(tag) not in (None, digest):
            raise DeliveryError(
                f"{repository(part)}:{tag} is another image: a version never changes"
            )
        registry.tag(digest, tag)
    return digest


def find(commit: str, version: str, part: str = "") -> tuple[str, dict[str, str]]:
    """Digest and labels of the image of a commit, which somebody calls by the name of a version.

    Raises:
        DeliveryError: the registry has none, or one that is of another commit.
    """
    name, make = repository(part), f"make image{f' PART={part}' if part else ''} PUSH=1"
    registry = Registry(name)
    if not (digest := registry.digest(tag_of(commit))):
        raise DeliveryError(f"{name} has no image of {version} ({commit[:12]}): `{make}` there")
    labels = registry.labels(digest)
    if labels.get("org.opencontainers.image.revision") != commit:
        raise DeliveryError(f"the image {name}:{tag_of(commit)} was not made of {commit}")
    return digest, labels


def list_contents(group: str) -> bytes:
    """The libraries of an image by uv.lock, as CycloneDX."""
    uv = shutil.which("uv") or Path(sys.executable).with_name("uv")
    command = [uv, "export", "--quiet", "--frozen", "--no-default-groups", "--group", group]
    done = subprocess.run([*command, "--format", "cyclonedx1.5"], capture_output=True)
    if done.returncode:
        reason = " ".join(done.stderr.decode().split())
        raise DeliveryError(f"uv.lock cannot be read: {reason}", 2)
    return done.stdout
