"""No provider: the verbs run in a plain shell, and what they say stays in reports/delivery/."""

from collections.abc import Mapping

from .. import DeliveryError
from ..context import Context, local

VARIABLE = ""
LIMIT = 1_000_000
MERMAID = False


def read(environment: Mapping[str, str]) -> Context:
    """There is nothing to read but the clone."""
    return local()


def comment(context: Context, text: str) -> str:
    """There is nowhere to comment."""
    raise DeliveryError("the project has no provider, so there is nothing to comment on", 2)


def issue(context: Context, title: str, text: str, is_open: bool) -> str:
    """There is nowhere to open an issue."""
    raise DeliveryError(f"the project has no provider, so nobody was told: {title}", 2)


def pull_request(context: Context, branch: str, title: str, text: str, draft: bool) -> str:
    """There is nowhere to open a pull request."""
    raise DeliveryError(f"the project has no provider: merge the branch {branch} yourself", 2)


def identity(audience: str) -> str:
    """Nobody vouches for a plain shell."""
    return ""
