"""GitLab CI: its variables, and its REST API, version 4."""

import os
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from ..context import Context, Event, find_base
from ..forge import Forge, mine, token

VARIABLE = "GITLAB_CI"
SECRETS = ("GITLAB_TOKEN",)
LIMIT = 1_000_000
MERMAID = True
EVENTS: dict[str, Event] = {
    "merge_request_event": "pull_request",
    "push": "push",
    "schedule": "schedule",
}


def read(environment: Mapping[str, str]) -> Context:
    """A pipeline of a merge request from a fork runs in the fork, or in the target's project."""
    number = environment.get("CI_MERGE_REQUEST_IID")
    tag = environment.get("CI_COMMIT_TAG", "")
    event: Event = EVENTS.get(environment.get("CI_PIPELINE_SOURCE", ""), "manual")
    if tag and event == "push":
        event = "tag"
    target = (
        environment.get("CI_MERGE_REQUEST_DIFF_BASE_SHA", ""),
        environment.get("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", ""),
    )
    source = environment.get("CI_MERGE_REQUEST_SOURCE_PROJECT_ID")
    return Context(
        event,
        environment.get("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA") or environment["CI_COMMIT_SHA"],
        find_base(*target),
        environment.get("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME")
        or environment.get("CI_COMMIT_BRANCH", ""),
        tag,
        int(number) if number else None,
        source != environment.get("CI_MERGE_REQUEST_PROJECT_ID"),
        environment.get("CI_MERGE_REQUEST_PROJECT_PATH") or environment["CI_PROJECT_PATH"],
        environment.get("CI_MERGE_REQUEST_PROJECT_URL") or environment["CI_PROJECT_URL"],
        environment["CI_PIPELINE_URL"],
    )


def comment(context: Context, text: str) -> str:
    """Write the one note on the merge request."""
    forge = _forge()
    path = f"{_project(context)}/merge_requests/{context.pull_request}"
    old = _mine(forge, f"{path}/notes", "body", text)
    if old:
        forge.send("PUT", f"{path}/notes/{old['id']}", {"body": text})
    else:
        old = forge.send("POST", f"{path}/notes", {"body": text})
    return f"{context.repository_url}/-/merge_requests/{context.pull_request}#note_{old['id']}"


def issue(context: Context, title: str, text: str, is_open: bool) -> str:
    """Open, update or close the one issue; closed ones are left as they are."""
    forge, path = _forge(), f"{_project(context)}/issues"
    old = _mine(forge, path, "description", text, state="opened")
    body = {"title": title, "description": text}
    if old:
        change = body if is_open else body | {"state_event": "close"}
        return forge.send("PUT", f"{path}/{old['iid']}", change)["web_url"]
    return forge.send("POST", path, body)["web_url"] if is_open else ""


def pull_request(context: Context, branch: str, title: str, text: str, draft: bool) -> str:
    """Open the merge request of a branch that was pushed, or update it."""
    forge, path = _forge(), f"{_project(context)}/merge_requests"
    body = {"title": f"Draft: {title}" if draft else title, "description": text}
    for old in forge.pages(path, source_branch=branch, state="opened"):
        return forge.send("PUT", f"{path}/{old['iid']}", body)["web_url"]
    main = forge.get(_project(context))["default_branch"]
    body |= {"source_branch": branch, "target_branch": main}
    return forge.send("POST", path, body)["web_url"]


def _mine(forge: Forge, path: str, field: str, text: str, **query: Any) -> Any | None:
    me = forge.get("user")["id"]
    items: Iterator[Any] = forge.pages(path, per_page=100, **query)
    return mine(((i, i[field] or "", i["author"]["id"] == me) for i in items), text)


def _project(context: Context) -> str:
    return f"projects/{quote(context.repository, safe='')}"


def _forge() -> Forge:
    # the job's own token may not write notes
    needs = "GITLAB_TOKEN, a project access token with role Developer and scope `api`"
    secret = token(os.environ, "GITLAB_TOKEN", needs.partition(", ")[2])
    return Forge(os.environ["CI_API_V4_URL"], {"PRIVATE-TOKEN": secret}, needs)


def identity(audience: str) -> str:
    """The job's token for somebody else, from `id_tokens` of the job."""
    names = {"sts.amazonaws.com": "AWS_ID_TOKEN", "api://AzureADTokenExchange": "AZURE_ID_TOKEN"}
    return os.environ.get(names.get(audience, "GOOGLE_ID_TOKEN"), "")
