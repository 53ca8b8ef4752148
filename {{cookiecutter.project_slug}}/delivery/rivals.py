"""The versions that a change is compared with: main's, and the one that production serves."""

import json
import urllib.error
import urllib.request

import yaml

from . import DeliveryError, revision
from .context import Context, resolve
from .git import git

BEFORE = "the commit before"
SECONDS = 5  # for production to answer


def find(context: Context) -> tuple[dict[str, str], list[str]]:
    """Commits by name, that which would be replaced last; and what has to be said of them."""
    found, remarks = {}, []
    base = find_base(context)
    if base:
        found[BEFORE if context.branch in ("main", "master") else "main"] = base
    else:
        remarks.append("There is no commit before this one to compare with.")
    serving, remark = _ask_production()
    if serving and serving != base:
        if resolve(serving):
            found["production"] = serving
        else:
            remark = f"Production serves {serving[:12]}, a commit that this clone does not have."
    elif serving:
        remark = f"Production serves the version of {next(iter(found))}."
    return found, [*remarks, *filter(None, [remark])]


def find_base(context: Context) -> str | None:
    """The commit that the change began from; none if it is the first.

    Raises:
        DeliveryError: it is not in this clone.
    """
    shallow = git("rev-parse", "--is-shallow-repository") == "true"
    if context.base is None and (shallow or context.pull_request):
        sentence = (
            "this clone lacks the commit that the change began from: fetch all of the history"
        )
        raise DeliveryError(sentence, 2)
    return context.base


def _ask_production() -> tuple[str | None, str]:
    """The commit that production serves, by its own word, and a remark if it does not say."""
    environments = yaml.safe_load(revision.read("deploy/environments.yaml") or "") or {}
    url = environments.get("production", {}).get("url")
    if not url:
        return None, ""
    try:
        with urllib.request.urlopen(f"{url}/version", timeout=SECONDS) as answer:
            return json.load(answer)["revision"].removesuffix("-changed"), ""
    except (OSError, ValueError, KeyError) as error:
        reason = getattr(error, "reason", error)
        if url.endswith(".localhost"):  # as rendered: nothing was ever deployed
            return None, ""
        return None, f"Production ({url}) does not say what it serves: {reason}."
