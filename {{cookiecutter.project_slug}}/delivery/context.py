"""What is being delivered, and why: the same facts whatever provider runs the verb."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from . import DeliveryError
from .git import git

Event = Literal["pull_request", "push", "tag", "manual", "schedule", "local"]


@dataclass(frozen=True)
class Context:
    """The run of a verb, as the provider's variables tell it.

    Attributes:
        head, base: commits; base is where a pull request left its target, elsewhere the parent.
            None where there is none, or where the clone is too shallow to know it.
        branch, tag: short names; of a pull request, its own branch.
        pull_request: its number.
        fork: the change comes from another repository, so there are no secrets.
        repository: its name in the provider's API; repository_url: its page.
        run_url: the page of this run.
        summary: file that the provider shows on the page of the run.
    """

    event: Event
    head: str
    base: str | None = None
    branch: str = ""
    tag: str = ""
    pull_request: int | None = None
    fork: bool = False
    repository: str = ""
    repository_url: str = ""
    run_url: str = ""
    summary: Path | None = None

    def summarise(self, text: str) -> None:
        """Add Markdown to the page of the run, where it has room for it."""
        if self.summary:
            with self.summary.open("a") as summary:
                summary.write(text)


def resolve(revision: str) -> str | None:
    """The commit that a revision names, if this clone has it."""
    try:
        return git("rev-parse", "--verify", "--quiet", revision + "^{commit}")
    except DeliveryError:
        return None


def find_base(*targets: str) -> str | None:
    """Where the checked-out commit left the first target that is known; else its parent."""
    for target in filter(None, targets):
        for revision in (f"origin/{target}", target):
            if commit := resolve(revision):
                try:
                    return git("merge-base", commit, "HEAD")
                except DeliveryError:
                    return None
    return None if any(targets) else resolve("HEAD^")


def local() -> Context:
    """A plain shell: this commit against main, or against its parent where it is main's own."""
    head, branch = git("rev-parse", "HEAD"), git("rev-parse", "--abbrev-ref", "HEAD")
    base = find_base("refs/heads/main", "main")
    return Context("local", head, base if base != head else find_base(), branch)
