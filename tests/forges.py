"""The comment, issue and pull-request APIs of four providers, on loopback, as documented by them.

Only what a project calls is there; any other call is answered with 404 and remembered.
"""

import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

PAGE = 50  # no provider gives more than 100; less makes the walk longer


@dataclass
class Forge:
    """What a fake holds.

    Attributes:
        token: the value of the one header that opens it.
        comments, issues, pulls: in the provider's own shape.
        failures: answers to give before the real ones: status and headers.
        calls: method and path of each call.
    """

    token: tuple[str, str]
    comments: list[dict[str, Any]] = field(default_factory=list)
    issues: list[dict[str, Any]] = field(default_factory=list)
    pulls: list[dict[str, Any]] = field(default_factory=list)
    failures: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    url: str = ""

    def wrote(self) -> list[str]:
        """The calls that changed something."""
        return [call for call in self.calls if not call.startswith("GET")]


@dataclass
class Request:
    """A call: its path below the API's root, its query and its body."""

    method: str
    path: str
    query: dict[str, str]
    body: Any


class GitHub(Forge):
    """https://docs.github.com/en/rest"""

    bot: ClassVar = {"type": "Bot", "login": "github-actions[bot]"}

    def comment(self, text: str, own: bool) -> dict[str, Any]:
        number = len(self.comments) + 1
        user = self.bot if own else {"type": "User", "login": "somebody"}
        return {"id": number, "body": text, "user": user, "html_url": f"page#{number}"}

    def text(self, comment: dict[str, Any]) -> str:
        return comment["body"]

    def proposal(self, pull: dict[str, Any]) -> tuple[str, str, str, bool]:
        return pull["title"], pull["head"], pull["body"], pull["draft"]

    def answer(self, asked: Request) -> Any:
        repository, _, path = asked.path.partition("repos/team/ranker")
        assert repository == "", asked
        match asked.method, path.split("/")[1:]:
            case "GET", []:
                return {"default_branch": "main"}
            case "GET", ["issues", "7", "comments"]:
                return self.comments
            case "POST", ["issues", "7", "comments"]:
                return add(self.comments, self.comment(asked.body["body"], True))
            case "PATCH", ["issues", "comments", number]:
                return change(self.comments, "id", number, asked.body)
            case "GET", ["issues"]:
                return [issue for issue in self.issues if issue["state"] == asked.query["state"]]
            case "POST", ["issues"]:
                number = len(self.issues) + 1
                new = {"number": number, "state": "open", "user": self.bot}
                return add(self.issues, asked.body | new | {"html_url": f"issue/{number}"})
            case "PATCH", ["issues", number]:
                return change(self.issues, "number", number, asked.body)
            case "GET", ["pulls"]:
                return [p for p in self.pulls if f"team:{p['head']}" == asked.query["head"]]
            case "POST", ["pulls"]:
                number = len(self.pulls) + 1
                return add(
                    self.pulls, asked.body | {"number": number, "html_url": f"pull/{number}"}
                )
            case "PATCH", ["pulls", number]:
                return change(self.pulls, "number", number, asked.body)
        raise LookupError(asked.path)


class GitLab(Forge):
    """https://docs.gitlab.com/api/rest"""

    def comment(self, text: str, own: bool) -> dict[str, Any]:
        number = len(self.comments) + 1
        return {"id": number, "body": text, "author": {"id": 99 if own else 5}}

    def text(self, comment: dict[str, Any]) -> str:
        return comment["body"]

    def proposal(self, pull: dict[str, Any]) -> tuple[str, str, str, bool]:
        title = pull["title"].removeprefix("Draft: ")
        return title, pull["source_branch"], pull["description"], title != pull["title"]

    def answer(self, asked: Request) -> Any:
        if asked.path == "user":
            return {"id": 99, "username": "project_1_bot"}
        project, _, path = asked.path.partition("projects/team%2Franker")
        assert project == "", asked
        match asked.method, path.split("/")[1:]:
            case "GET", []:
                return {"default_branch": "main"}
            case "GET", ["merge_requests", "7", "notes"]:
                return self.comments
            case "POST", ["merge_requests", "7", "notes"]:
                return add(self.comments, self.comment(asked.body["body"], True))
            case "PUT", ["merge_requests", "7", "notes", number]:
                return change(self.comments, "id", number, asked.body)
            case "GET", ["issues"]:
                return [issue for issue in self.issues if issue["state"] == asked.query["state"]]
            case "POST", ["issues"]:
                number = len(self.issues) + 1
                new = {"iid": number, "state": "opened", "author": {"id": 99}}
                return add(self.issues, asked.body | new | {"web_url": f"issue/{number}"})
            case "PUT", ["issues", number]:
                state = "closed" if asked.body.pop("state_event", "") == "close" else "opened"
                return change(self.issues, "iid", number, asked.body | {"state": state})
            case "GET", ["merge_requests"]:
                wanted = asked.query["source_branch"]
                return [p for p in self.pulls if p["source_branch"] == wanted]
            case "POST", ["merge_requests"]:
                number = len(self.pulls) + 1
                return add(self.pulls, asked.body | {"iid": number, "web_url": f"pull/{number}"})
            case "PUT", ["merge_requests", number]:
                return change(self.pulls, "iid", number, asked.body)
        raise LookupError(asked.path)


class Azure(Forge):
    """https://learn.microsoft.com/en-us/rest/api/azure/devops"""

    def comment(self, text: str, own: bool) -> dict[str, Any]:
        number = len(self.comments) + 1
        author = {"id": "build-service" if own else "somebody"}
        return {"id": number, "comments": [{"id": 1, "content": text, "author": author}]}

    def text(self, comment: dict[str, Any]) -> str:
        return comment["comments"][0]["content"]

    def proposal(self, pull: dict[str, Any]) -> tuple[str, str, str, bool]:
        branch = pull["sourceRefName"].removeprefix("refs/heads/")
        return pull["title"], branch, pull["description"], pull["isDraft"]

    def answer(self, asked: Request) -> Any:
        if asked.path == "_apis/connectionData":
            return {"authenticatedUser": {"id": "build-service"}}
        assert asked.query.get("api-version"), asked
        project, _, path = asked.path.partition("The%20team/_apis/")
        assert project == "", asked
        match asked.method, path.removeprefix("git/repositories/ranker/").split("/"):
            case "GET", ["git", "repositories", "ranker"]:
                return {"defaultBranch": "refs/heads/main"}
            case "GET", ["pullrequests", "7", "threads"]:
                return {"value": self.comments, "count": len(self.comments)}
            case "POST", ["pullrequests", "7", "threads"]:
                (only,) = asked.body["comments"]
                return add(self.comments, self.comment(only["content"], True))
            case "PATCH", ["pullrequests", "7", "threads", number, "comments", "1"]:
                thread = next(c for c in self.comments if c["id"] == int(number))
                thread["comments"][0] |= asked.body
                return thread["comments"][0]
            case "POST", ["wit", "wiql"]:
                tag = re.search(r"\[System.Tags\] CONTAINS '([\w ]+)'", asked.body["query"])
                found = [i for i in self.issues if i["Tags"] == tag[1] and i["State"] != "Done"]
                return {"workItems": [{"id": issue["id"]} for issue in found]}
            case "GET", ["wit", "workitemtypes", "Issue", "states"]:
                states = {"To Do": "Proposed", "Done": "Completed"}
                return {"value": [{"name": n, "category": c} for n, c in states.items()]}
            case "POST", ["wit", "workitems", "$Issue"]:
                number = len(self.issues) + 1
                links = {"_links": {"html": {"href": f"issue/{number}"}}}
                return add(self.issues, {"id": number, "State": "To Do"} | patch(asked) | links)
            case "PATCH", ["wit", "workitems", number]:
                return change(self.issues, "id", number, patch(asked))
            case "GET", ["pullrequests"]:
                wanted = asked.query["searchCriteria.sourceRefName"]
                return {"value": [p for p in self.pulls if p["sourceRefName"] == wanted]}
            case "POST", ["pullrequests"]:
                if len(asked.body["description"]) > 4000:
                    raise LookupError("a description has at most 4000 characters")
                return add(self.pulls, asked.body | {"pullRequestId": len(self.pulls) + 1})
            case "PATCH", ["pullrequests", number]:
                return change(self.pulls, "pullRequestId", number, asked.body)
        raise LookupError(asked.path)


class Bitbucket(Forge):
    """https://developer.atlassian.com/cloud/bitbucket/rest"""

    bot: ClassVar = {"type": "app_user", "uuid": "{bot}"}

    def comment(self, text: str, own: bool) -> dict[str, Any]:
        number = len(self.comments) + 1
        user = self.bot if own else {"type": "user", "uuid": "{somebody}"}
        links = {"html": {"href": f"page#{number}"}}
        return {"id": number, "content": {"raw": text}, "user": user, "links": links}

    def text(self, comment: dict[str, Any]) -> str:
        return comment["content"]["raw"]

    def proposal(self, pull: dict[str, Any]) -> tuple[str, str, str, bool]:
        branch = pull["source"]["branch"]["name"]
        return pull["title"], branch, pull["description"], pull["draft"]

    def answer(self, asked: Request) -> Any:
        repository, _, path = asked.path.partition("repositories/team/ranker/")
        assert repository == "", asked
        match asked.method, path.split("/"):
            case "GET", ["pullrequests", "7", "comments"]:
                return self.page(self.comments, asked)
            case "POST", ["pullrequests", "7", "comments"]:
                return add(self.comments, self.comment(asked.body["content"]["raw"], True))
            case "PUT", ["pullrequests", "7", "comments", number]:
                return change(self.comments, "id", number, asked.body)
            case "GET", ["issues"]:
                found = [i for i in self.issues if f'"{i["state"]}"' in asked.query["q"]]
                return self.page(found, asked)
            case "POST", ["issues"]:
                new = self.comment("", True) | {"id": len(self.issues) + 1, "state": "new"}
                new |= {"reporter": self.bot}
                return add(self.issues, new | asked.body)
            case "PUT", ["issues", number]:
                return change(self.issues, "id", number, asked.body)
            case "GET", ["pullrequests"]:
                found = [p for p in self.pulls if p["source"]["branch"]["name"] in asked.query["q"]]
                return self.page(found, asked)
            case "POST", ["pullrequests"]:
                number = len(self.pulls) + 1
                links = {"links": {"html": {"href": f"pull/{number}"}}}
                return add(self.pulls, asked.body | {"id": number} | links)
            case "PUT", ["pullrequests", number]:
                return change(self.pulls, "id", number, asked.body)
        raise LookupError(asked.path)

    def page(self, items: list[Any], asked: Request) -> dict[str, Any]:
        first = (int(asked.query.get("page", 1)) - 1) * PAGE
        page: dict[str, Any] = {"values": items[first : first + PAGE]}
        if first + PAGE < len(items):
            page["next"] = f"{self.url}/{asked.path}?page={first // PAGE + 2}"
        return page


def add(items: list[Any], item: Any) -> Any:
    """Keep a new item."""
    items.append(item)
    return item


def change(items: list[Any], key: str, number: str, changes: dict[str, Any]) -> Any:
    """Change the item of a number."""
    item = next(item for item in items if item[key] == int(number))
    item |= changes
    return item


def patch(asked: Request) -> dict[str, Any]:
    """The fields of a JSON Patch."""
    return {step["path"].rpartition(".")[2]: step["value"] for step in asked.body}


@contextmanager
def serving(forge: Forge):
    """Serve a fake on a free port of the loopback interface; its `url` is set."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            query = {name: values[0] for name, values in parse_qs(address.query).items()}
            asked = Request(self.command, address.path.removeprefix("/api/"), query, body)
            forge.calls.append(f"{self.command} {unquote(asked.path)}")
            forge.bodies.append(body)
            if forge.failures:
                self.reply(*forge.failures.pop(0), {"message": "no"})
            elif self.headers.get(forge.token[0]) != forge.token[1]:
                self.reply(401, {}, {"message": "no token"})
            else:
                try:
                    self.reply(200, *self.paged(forge.answer(asked), asked))
                except LookupError:
                    self.reply(404, {}, {"message": "unknown"})

        do_POST = do_PATCH = do_PUT = do_GET  # noqa: N815

        def paged(self, answer: Any, asked: Request) -> tuple[dict[str, str], Any]:
            if not isinstance(answer, list):
                return {}, answer
            first = (int(asked.query.get("page", 1)) - 1) * PAGE
            following = f"{forge.url}/{asked.path}?page={first // PAGE + 2}"
            more = first + PAGE < len(answer)
            link = {"Link": f'<{forge.url}/x?page=1>; rel="first", <{following}>; rel="next"'}
            return link if more else {}, answer[first : first + PAGE]

        def reply(self, status: int, headers: dict[str, str], content: Any) -> None:
            text = json.dumps(content).encode()
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(text))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    forge.url = f"http://127.0.0.1:{server.server_port}/api"
    try:
        yield forge
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
