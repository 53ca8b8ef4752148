"""Bitbucket Pipelines: its variables, and the REST API of Bitbucket Cloud, version 2.0."""

import os
from collections.abc import Mapping
from typing import Any

from ..context import Context, Event, find_base
from ..forge import Forge, mine, token

VARIABLE = "BITBUCKET_BUILD_NUMBER"
SECRETS = ("BITBUCKET_TOKEN",)
LIMIT = 32_768
MERMAID = False


def read(environment: Mapping[str, str]) -> Context:
    """A schedule or a button looks like a push; a fork's pull request runs no pipeline here."""
    number, tag = environment.get("BITBUCKET_PR_ID"), environment.get("BITBUCKET_TAG", "")
    event: Event = "pull_request" if number else "tag" if tag else "push"
    target = (
        environment.get("BITBUCKET_PR_DESTINATION_BRANCH", ""),
        environment.get("BITBUCKET_PR_DESTINATION_COMMIT", ""),
    )
    page = environment["BITBUCKET_GIT_HTTP_ORIGIN"]
    return Context(
        event,
        environment["BITBUCKET_COMMIT"],
        find_base(*target),
        environment.get("BITBUCKET_BRANCH", ""),
        tag,
        int(number) if number else None,
        False,
        environment["BITBUCKET_REPO_FULL_NAME"],
        page,
        f"{page}/pipelines/results/{environment['BITBUCKET_BUILD_NUMBER']}",
    )


def comment(context: Context, text: str) -> str:
    """Write the one comment on the pull request."""
    forge = _forge("pullrequest:write")
    path = f"repositories/{context.repository}/pullrequests/{context.pull_request}/comments"
    listed = (c for c in forge.pages(path, pagelen=100) if not c.get("deleted"))
    old = mine(((c, c["content"]["raw"], _own(c["user"])) for c in listed), text)
    method, place = ("PUT", f"{path}/{old['id']}") if old else ("POST", path)
    return _url(forge.send(method, place, {"content": {"raw": text}}))


def issue(context: Context, title: str, text: str, is_open: bool) -> str:
    """Open, update or close the one issue; the repository's issue tracker must be on."""
    forge, path = _forge("issue:write"), f"repositories/{context.repository}/issues"
    query = {"q": '(state = "new" OR state = "open")', "pagelen": 100}
    listed = forge.pages(path, **query)
    old = mine(((i, i["content"]["raw"], _own(i["reporter"])) for i in listed), text)
    body: dict[str, Any] = {"title": title, "content": {"raw": text}}
    if old:
        change = body if is_open else body | {"state": "closed"}
        return _url(forge.send("PUT", f"{path}/{old['id']}", change))
    return _url(forge.send("POST", path, body)) if is_open else ""


def pull_request(context: Context, branch: str, title: str, text: str, draft: bool) -> str:
    """Open the pull request of a branch that was pushed, or update it."""
    forge = _forge("pullrequest:write")
    path = f"repositories/{context.repository}/pullrequests"
    body: dict[str, Any] = {"title": title, "description": text}
    for old in forge.pages(path, q=f'source.branch.name = "{branch}" AND state = "OPEN"'):
        return _url(forge.send("PUT", f"{path}/{old['id']}", body))
    body |= {"source": {"branch": {"name": branch}}, "draft": draft}
    return _url(forge.send("POST", path, body))


def _own(user: dict[str, Any] | None) -> bool:
    """An access token has no account that could be asked for: it writes as an app."""
    return (user or {}).get("type") == "app_user"


def _url(item: dict[str, Any]) -> str:
    return item["links"]["html"]["href"]


def _forge(scope: str) -> Forge:
    needs = f"BITBUCKET_TOKEN, a repository access token with scope {scope}"
    secret = token(os.environ, "BITBUCKET_TOKEN", needs.partition(", ")[2])
    url = os.environ.get("BITBUCKET_API_URL", "https://api.bitbucket.org/2.0")
    return Forge(url, {"Authorization": f"Bearer {secret}"}, needs)


def identity(audience: str) -> str:
    """The step's token for somebody else, from its `oidc: true`; its audience is the workspace."""
    return os.environ.get("BITBUCKET_STEP_OIDC_TOKEN", "")
