"""Azure Pipelines: its variables, and the REST API of Azure DevOps."""

import base64
import html
import os
import re
from collections.abc import Mapping
from urllib.parse import quote

from ..context import Context, Event, find_base
from ..forge import Forge, cut, mine, token

VARIABLE = "TF_BUILD"
LIMIT = 150_000
DESCRIPTION_LIMIT = 4_000  # of a pull request
MERMAID = False
VERSION = {"api-version": "7.1"}
EVENTS: dict[str, Event] = {
    "PullRequest": "pull_request",
    "IndividualCI": "push",
    "BatchedCI": "push",
    "Schedule": "schedule",
}


def read(environment: Mapping[str, str]) -> Context:
    """The variables are those that every step has; SYSTEM_ACCESSTOKEN must be handed to it."""
    ref = environment["BUILD_SOURCEBRANCH"]
    number = environment.get("SYSTEM_PULLREQUEST_PULLREQUESTID")
    event: Event = EVENTS.get(environment.get("BUILD_REASON", ""), "manual")
    tag = ref.removeprefix("refs/tags/") if ref.startswith("refs/tags/") else ""
    if tag and event == "push":
        event = "tag"
    change = environment.get("SYSTEM_PULLREQUEST_SOURCEBRANCH", ref)
    target = environment.get("SYSTEM_PULLREQUEST_TARGETBRANCH", "").removeprefix("refs/heads/")
    name = environment["BUILD_REPOSITORY_NAME"]
    project = f"{environment['SYSTEM_COLLECTIONURI']}{quote(environment['SYSTEM_TEAMPROJECT'])}"
    return Context(
        event,
        environment.get("SYSTEM_PULLREQUEST_SOURCECOMMITID") or environment["BUILD_SOURCEVERSION"],
        find_base(target) if number else find_base(),
        "" if tag else change.removeprefix("refs/heads/"),
        tag,
        int(number) if number else None,
        environment.get("SYSTEM_PULLREQUEST_ISFORK", "").lower() == "true",
        name,
        f"{project}/_git/{quote(name)}",
        f"{project}/_build/results?buildId={environment['BUILD_BUILDID']}",
    )


def comment(context: Context, text: str) -> str:
    """Write the one thread on the pull request; its first comment is the text."""
    forge = _forge("Contribute to pull requests")
    path = f"{_repository(context)}/pullrequests/{context.pull_request}/threads"
    me = forge.get("_apis/connectionData")["authenticatedUser"]["id"]
    first = ((t, t["comments"][0]) for t in forge.pages(path, **VERSION) if t.get("comments"))
    old = mine(((t, c.get("content") or "", c["author"]["id"] == me) for t, c in first), text)
    if old:
        place = f"{path}/{old['id']}/comments/{old['comments'][0]['id']}"
        forge.send("PATCH", place, {"content": text}, **VERSION)
    else:
        # closed: a report is not a remark that somebody has to resolve
        thread = {"comments": [{"content": text, "commentType": "text"}], "status": "closed"}
        old = forge.send("POST", path, thread, **VERSION)
    return f"{_page(context, context.pull_request)}?discussionId={old['id']}"


def issue(context: Context, title: str, text: str, is_open: bool) -> str:
    """Open, update or close the one work item of type Issue, known by a tag."""
    forge, work = _forge("Edit work items"), f"{_project()}/_apis/wit"
    tag = " ".join(re.findall(r"\w+", text.partition("\n")[0]))
    asked = (
        "SELECT [System.Id] FROM WorkItems WHERE [System.TeamProject] = @project "
        f"AND [System.Tags] CONTAINS '{tag}' AND [System.State] NOT IN ('Done', 'Closed')"
    )
    found = forge.send("POST", f"{work}/wiql", {"query": asked}, **VERSION)["workItems"]
    description = f"<pre>{html.escape(text)}</pre>"
    fields = {"Title": title, "Description": description, "Tags": tag}
    if not is_open:
        states = forge.pages(f"{work}/workitemtypes/Issue/states", **VERSION)
        fields["State"] = next(s["name"] for s in states if s["category"] == "Completed")
    if not found and not is_open:
        return ""
    method, path = ("PATCH", str(found[0]["id"])) if found else ("POST", "$Issue")
    patch = [{"op": "add", "path": f"/fields/System.{k}", "value": v} for k, v in fields.items()]
    item = forge.send(method, f"{work}/workitems/{path}", patch, **VERSION)
    return item["_links"]["html"]["href"]


def pull_request(context: Context, branch: str, title: str, text: str, draft: bool) -> str:
    """Open the pull request of a branch that was pushed, or update it."""
    forge, repository = _forge("Contribute to pull requests"), _repository(context)
    path = f"{repository}/pullrequests"
    source = f"refs/heads/{branch}"
    body = {"title": title, "description": cut(text, DESCRIPTION_LIMIT)}
    query = {"searchCriteria.sourceRefName": source, "searchCriteria.status": "active"}
    for old in forge.pages(path, **query, **VERSION):
        forge.send("PATCH", f"{path}/{old['pullRequestId']}", body, **VERSION)
        return _page(context, old["pullRequestId"])
    main = forge.get(repository, **VERSION)["defaultBranch"]
    opened = body | {"sourceRefName": source, "targetRefName": main, "isDraft": draft}
    return _page(context, forge.send("POST", path, opened, **VERSION)["pullRequestId"])


def _page(context: Context, number: int | None) -> str:
    return f"{context.repository_url}/pullrequest/{number}"


def _project() -> str:
    return quote(os.environ["SYSTEM_TEAMPROJECT"])


def _repository(context: Context) -> str:
    return f"{_project()}/_apis/git/repositories/{quote(context.repository)}"


def _forge(permission: str) -> Forge:
    needs = f"the permission `{permission}` of the project's build service"
    secret = token(os.environ, "SYSTEM_ACCESSTOKEN", f"`env:` of the step, and {needs}")
    basic = base64.b64encode(f":{secret}".encode()).decode()
    url = os.environ["SYSTEM_COLLECTIONURI"]
    return Forge(url, {"Authorization": f"Basic {basic}"}, f"SYSTEM_ACCESSTOKEN with {needs}")


def identity(audience: str) -> str:
    """The job's token for Azure, by the service connection of AZURE_SERVICE_CONNECTION_ID."""
    place = os.environ.get("SYSTEM_OIDCREQUESTURI", "")
    connection = os.environ.get("AZURE_SERVICE_CONNECTION_ID", "")
    if not place or not connection:
        return ""
    needs = "`env:` of the step"
    secret = token(os.environ, "SYSTEM_ACCESSTOKEN", needs)
    folder, _, name = place.rpartition("/")
    forge = Forge(folder, {"Authorization": f"Bearer {secret}"}, f"SYSTEM_ACCESSTOKEN in {needs}")
    return forge.send("POST", name, None, serviceConnectionId=connection, **VERSION)["oidcToken"]
