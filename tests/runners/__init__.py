"""What each provider would run for an event, and a machine that runs that.

A provider's module has `plan(folder, event)`, which returns jobs or raises Refused for whatever it
does not know: a key, an action, a function. GitHub's and GitLab's are decided by code of others
(GitHub's parser and evaluator, gitlab-ci-local); Azure's and Bitbucket's by honest subsets.
"""

from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path


class Refused(Exception):  # noqa: N818 (it reads as a sentence)
    """The provider, or what stands for it, does not take this file."""


@dataclass
class Event:
    """What happens: pull_request, push, tag, button, schedule or closed.

    Attributes:
        fork: the pull request comes from another repository.
        variables: what the project has set; secrets: likewise, and no fork sees them.
        inputs: what a person chose at the button.
        schedule, button: which of them it is.
        sha, base: the commit, and the target's own; merge: of both, if the provider makes one.
    """

    kind: str
    fork: bool = False
    variables: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    schedule: str = "sweep"
    button: str = "deploy"
    sha: str = ""
    base: str = ""
    merge: str = ""
    notebooks: bool = True

    @property
    def tag(self) -> str:
        """Name of the tag that is pushed."""
        return "v1" if self.kind == "tag" else ""


@dataclass
class Step:
    """Commands of one shell."""

    script: str
    env: dict[str, str] = field(default_factory=dict)
    after_success: bool = True
    after_failure: bool = False


@dataclass
class Cache:
    """A folder that outlives the job."""

    path: str
    key: str
    fallback: str | None = None


@dataclass
class Job:
    """What one machine does.

    Attributes:
        depth: 0 is the full history, None no checkout at all.
        merges: the commit that is merged into the checkout.
        origin: the address that the checkout leaves, where it leaves no credentials for it.
        fragile: the artifacts that a failed job does not leave.
    """

    name: str
    needs: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    depth: int | None = 0
    merges: str = ""
    origin: str = ""
    caches: list[Cache] = field(default_factory=list)
    artifacts: list[str] = field(default_factory=list)
    fragile: list[str] = field(default_factory=list)
    minutes: int = 0
    runner: str = ""
    permissions: dict[str, str] = field(default_factory=dict)
    exclusive: str = ""
    manual: bool = False


def fingerprint(folder: Path, pattern: str) -> str:
    """The hash of the files that a cache's key names; empty if there are none."""
    found = sorted(folder.glob(pattern.replace("**", "**/*")))
    files = [path.read_bytes() for path in found if path.is_file()]
    return sha256(b"".join(files)).hexdigest()[:12] if files else ""
