"""Deliver this project: `python -m delivery VERB`; without a verb, the list."""

import importlib
import os
import sys
from collections.abc import Callable

from . import DeliveryError

# verb: the module and the function that does it; the first line of its docstring is the help
VERBS = {
    "adopt": "adoption.adopt",
    "check": "check.check",
    "deploy": "release.deploy",
    "doctor": "doctor.examine",
    "experiments": "experiments.compare",
    "gate": "gate.show",
    "image": "publish.image",
    "login": "identity.login",
    "monitor": "watch.tell",
    "notebooks": "notebooks.review",
    "pull": "storage.pull",
    "push": "storage.push",
    "report": "report.write",
    "reproduce": "reproduce.reproduce",
    "retrain": "retrain.propose",
    "review-app": "review.review_app",
    "rollback": "release.rollback",
    "status": "release.status",
    "storage": "relocation.move",
    "storage-check": "storage.check",
    "template-update": "template_update.update",
}


def main(arguments: list[str]) -> int:
    """Run a verb; 0 done, 1 the check says no, 2 used wrongly or the set-up is incomplete."""
    verb, *rest = arguments or [""]
    if verb not in VERBS:
        print(_usage(), file=sys.stderr if verb else sys.stdout)
        return 2 if verb else 0
    forget_unset()
    try:
        return _find(verb)(rest)
    except DeliveryError as refusal:
        print(f"ERROR: {refusal}", file=sys.stderr)
        return refusal.code
    except KeyboardInterrupt:
        return 130


def forget_unset() -> None:
    """Drop what a provider hands over though it is not set: empty, or as Azure's `$(NAME)`."""
    for name, value in list(os.environ.items()):
        if value in ("", f"$({name})"):
            del os.environ[name]


def _find(verb: str) -> Callable[[list[str]], int]:
    module, function = VERBS[verb].split(".")
    return getattr(importlib.import_module(f"{__package__}.{module}"), function)


def _usage() -> str:
    lines = [f"  {verb:18}{(_find(verb).__doc__ or '').splitlines()[0]}" for verb in VERBS]
    return "\n".join(["python -m delivery VERB", *lines])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
