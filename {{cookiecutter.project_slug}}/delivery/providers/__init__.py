"""The provider of this project: the one module that lies here.

Each has VARIABLE (set wherever it runs), LIMIT (characters of a comment), MERMAID (whether its
comments draw it), and the functions

    read(environment) → Context
    comment(context, text) → URL of the one comment on the pull request, new or updated
    issue(context, title, text, is_open) → URL of the one issue, opened, updated or closed
    pull_request(context, branch, title, text, draft) → URL of the branch's pull request to main
    identity(audience) → token that tells somebody else which job this is; empty if it has none

The first line of a text is a hidden marker, by which the comment or issue is found again.
"""

import importlib
import os
import pkgutil
import sys
from types import ModuleType

from .. import DeliveryError
from ..context import Context, local
from ..forge import cut


def find() -> ModuleType:
    """The provider's module.

    Raises:
        DeliveryError: there is not exactly one.
    """
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    if len(names) != 1:
        found = ", ".join(names) or "none"
        raise DeliveryError(f"delivery/providers/ must hold one provider, and has {found}", 2)
    return importlib.import_module(f"{__name__}.{names[0]}")


def context() -> Context:
    """What this run delivers, on the provider or on somebody's machine."""
    provider = find()
    return provider.read(os.environ) if os.environ.get(provider.VARIABLE) else local()


def tell(context: Context, text: str) -> None:
    """Put a text under the pull request; what hinders that is a warning and no failure."""
    provider = find()
    if context.fork:
        print("no comment: a fork has no token; see the artifacts of this run", file=sys.stderr)
    elif context.pull_request:
        try:
            print(provider.comment(context, cut(text, provider.LIMIT)))
        except DeliveryError as hindrance:
            print(f"WARNING: no comment: {hindrance}", file=sys.stderr)
