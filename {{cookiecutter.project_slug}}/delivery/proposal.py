"""A change that a schedule proposes: a branch of its own, pushed, and its pull request."""

import os

from . import DeliveryError, providers
from .context import Context
from .forge import cut
from .git import git

# a machine may have no name of its own; hooks are for people
BOT = {
    f"GIT_{role}_{part}": os.environ.get(f"GIT_{role}_{part}", value)
    for role in ("AUTHOR", "COMMITTER")
    for part, value in (("NAME", "delivery"), ("EMAIL", "delivery@localhost"))
}
UNHOOKED = ("-c", f"core.hooksPath={os.devnull}")


def waits(branch: str) -> bool:
    """Whether the branch was pushed before, and is still there."""
    return git("ls-remote", "--heads", "origin", f"refs/heads/{branch}") != ""


def start(branch: str) -> None:
    """Go on in a new branch."""
    git(*UNHOOKED, "checkout", "--quiet", "-B", branch)


def commit(message: str) -> None:
    """Commit all that changed, if anything did."""
    git("add", "--all")
    if git("status", "--porcelain"):
        git(*UNHOOKED, "commit", "--quiet", "--message", message, env=BOT)


def submit(context: Context, branch: str, title: str, text: str, draft: bool) -> str:
    """Push the branch and open its pull request; where it may not be pushed, an issue says so.

    Returns:
        The page of one or the other.
    """
    provider = providers.find()
    try:
        git(*UNHOOKED, "push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
    except DeliveryError as reason:
        marker, rest = text.split("\n", 1)
        said = f"{marker}\n\nThe branch `{branch}` could not be pushed ({reason}).\n{rest}"
        return provider.issue(context, title, cut(said, provider.LIMIT), True)
    return provider.pull_request(context, branch, title, cut(text, provider.LIMIT), draft)
