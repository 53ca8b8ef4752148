"""GitHub Actions: its variables, and its REST API."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from ..context import Context, Event, find_base
from ..forge import Forge, mine, token

VARIABLE = "GITHUB_ACTIONS"
LIMIT = 65_536
MERMAID = True
EVENTS: dict[str, Event] = {
    "pull_request": "pull_request",
    "push": "push",
    "schedule": "schedule",
    "workflow_dispatch": "manual",
}


def read(environment: Mapping[str, str]) -> Context:
    """The event file knows what the variables do not: the pull request and where it comes from."""
    payload = json.loads(Path(environment["GITHUB_EVENT_PATH"]).read_text())
    change: dict[str, Any] = payload.get("pull_request") or {}
    is_tag = environment.get("GITHUB_REF_TYPE") == "tag"
    event: Event = EVENTS.get(environment["GITHUB_EVENT_NAME"], "manual")
    if is_tag and event == "push":
        event = "tag"
    source = change["head"]["repo"] if change else None  # none when the fork was deleted
    repository = environment["GITHUB_REPOSITORY"]
    page = f"{environment['GITHUB_SERVER_URL']}/{repository}"
    summary = environment.get("GITHUB_STEP_SUMMARY")
    return Context(
        event,
        change["head"]["sha"] if change else environment["GITHUB_SHA"],
        find_base(change["base"]["ref"], change["base"]["sha"]) if change else find_base(),
        change["head"]["ref"] if change else "" if is_tag else environment["GITHUB_REF_NAME"],
        environment["GITHUB_REF_NAME"] if is_tag else "",
        change.get("number"),
        bool(change) and (not source or source["full_name"] != repository),
        repository,
        page,
        f"{page}/actions/runs/{environment['GITHUB_RUN_ID']}",
        Path(summary) if summary else None,
    )


def comment(context: Context, text: str) -> str:
    """Write the one comment on the pull request."""
    forge, issues = _forge("pull-requests: write"), f"repos/{context.repository}/issues"
    path = f"{issues}/{context.pull_request}/comments"
    texts = ((c, c["body"] or "", _own(c)) for c in forge.pages(path, per_page=100))
    old = mine(texts, text)
    if old:
        return forge.send("PATCH", f"{issues}/comments/{old['id']}", {"body": text})["html_url"]
    return forge.send("POST", path, {"body": text})["html_url"]


def issue(context: Context, title: str, text: str, is_open: bool) -> str:
    """Open, update or close the one issue; closed ones are left as they are."""
    forge, path = _forge("issues: write"), f"repos/{context.repository}/issues"
    listed = forge.pages(path, state="open", per_page=100)
    old = mine(((i, i["body"] or "", _own(i)) for i in listed if "pull_request" not in i), text)
    body = {"title": title, "body": text}
    if old:
        body["state"] = "open" if is_open else "closed"
        return forge.send("PATCH", f"{path}/{old['number']}", body)["html_url"]
    return forge.send("POST", path, body)["html_url"] if is_open else ""


def pull_request(context: Context, branch: str, title: str, text: str, draft: bool) -> str:
    """Open the pull request of a branch that was pushed, or update it."""
    forge = _forge("contents: write and pull-requests: write")
    path = f"repos/{context.repository}/pulls"
    owner = context.repository.split("/")[0]
    body = {"title": title, "body": text}
    for old in forge.pages(path, head=f"{owner}:{branch}", state="open"):
        return forge.send("PATCH", f"{path}/{old['number']}", body)["html_url"]
    main = forge.get(f"repos/{context.repository}")["default_branch"]
    return forge.send("POST", path, body | {"head": branch, "base": main, "draft": draft})[
        "html_url"
    ]


def _own(item: dict[str, Any]) -> bool:
    return (item["user"] or {}).get("type") == "Bot"


def _forge(permission: str) -> Forge:
    needs = f"GITHUB_TOKEN with `{permission}`"
    secret = token(os.environ, "GITHUB_TOKEN", f"`{permission}`")
    headers = {"Authorization": f"Bearer {secret}", "Accept": "application/vnd.github+json"}
    return Forge(os.environ.get("GITHUB_API_URL", "https://api.github.com"), headers, needs)


def identity(audience: str) -> str:
    """The job's token for somebody else; none without `id-token: write`."""
    place, _, query = os.environ.get("ACTIONS_ID_TOKEN_REQUEST_URL", "").partition("?")
    if not place:
        return ""
    folder, _, name = place.rpartition("/")
    secret = token(os.environ, "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "`id-token: write`")
    forge = Forge(folder, {"Authorization": f"Bearer {secret}"}, "`id-token: write`")
    return forge.get(name, **dict(parse_qsl(query)), audience=audience)["value"]
