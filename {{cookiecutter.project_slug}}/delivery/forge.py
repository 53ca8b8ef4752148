"""The API of a code-hosting provider over HTTP: pages, patience, and errors as one sentence."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from typing import Any

from . import DeliveryError

ATTEMPTS = 4
TIMEOUT_SECONDS = 30
LONGEST_WAIT_SECONDS = 60


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follow no redirect: the token is for one host."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


@dataclass(frozen=True)
class Forge:
    """One provider's API.

    Attributes:
        url: where it begins.
        headers: what names the token.
        needs: which token, with which permission, in words.
    """

    url: str
    headers: dict[str, str]
    needs: str

    def get(self, path: str, **query: Any) -> Any:
        """What lies at a path."""
        return self._call("GET", path, query)[0]

    def send(self, method: str, path: str, body: Any, **query: Any) -> Any:
        """The answer to a JSON body, or to a list of changes (JSON Patch)."""
        return self._call(method, path, query, body)[0]

    def pages(self, path: str, **query: Any) -> Iterator[Any]:
        """Every item of a list, page by page."""
        following: str | None = path
        while following:
            content, headers = self._call("GET", following, query)
            query = {}
            if isinstance(content, list):
                yield from content
                following = _link(headers)
            else:
                yield from content.get("values", content.get("value", []))
                following = content.get("next")

    def _call(
        self, method: str, path: str, query: dict[str, Any], body: Any = None
    ) -> tuple[Any, HTTPMessage]:
        start = self.url.rstrip("/") + "/"
        url = urllib.parse.urljoin(start, path)
        if not url.startswith(start):
            raise DeliveryError(f"{self.url} points to another host: {url}")
        if query:
            url += "?" + urllib.parse.urlencode(query)
        kind = "application/json-patch+json" if isinstance(body, list) else "application/json"
        headers = self.headers | {"Content-Type": kind, "User-Agent": "delivery"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, headers, method=method)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with _OPENER.open(request, timeout=TIMEOUT_SECONDS) as response:
                    return json.loads(response.read() or b"null"), response.headers
            except (OSError, HTTPException, ValueError) as error:
                wait = _patience(error, attempt)
                if wait is None or attempt == ATTEMPTS:
                    raise DeliveryError(self._sentence(error, method, url)) from None
                time.sleep(wait)
        raise AssertionError("unreachable")

    def _sentence(self, error: Exception, method: str, url: str) -> str:
        asked = f"{method} {urllib.parse.urlsplit(url)._replace(query='').geturl()}"
        if not isinstance(error, urllib.error.HTTPError):
            return f"{asked}: {getattr(error, 'reason', error) or type(error).__name__}"
        needs = f": it needs {self.needs}" if error.code in (401, 403, 404) else ""
        return f"{asked} was answered with {error.code} {error.reason}{needs}"


_OPENER = urllib.request.build_opener(_Stay)


def _patience(error: Exception, attempt: int) -> float | None:
    """Seconds to wait before the next attempt; none if another would not help."""
    if not isinstance(error, urllib.error.HTTPError):
        return None if isinstance(error, ValueError) else 2.0 ** (attempt - 1)
    asked = error.headers.get("Retry-After", "")
    if error.code == 429 or error.code >= 500 or (error.code == 403 and asked):
        wait = float(asked) if asked.isdigit() else 2.0 ** (attempt - 1)
        return min(wait, LONGEST_WAIT_SECONDS)
    return None


def _link(headers: HTTPMessage) -> str | None:
    """The URL of the next page, from a Link header."""
    for part in (headers.get("Link") or "").split(","):
        address, _, relation = part.partition(";")
        if 'rel="next"' in relation:
            return address.strip(" <>")
    return None


def token(environment: Mapping[str, str], name: str, permission: str) -> str:
    """The token of a variable.

    Raises:
        DeliveryError: it is not set.
    """
    if not environment.get(name):
        raise DeliveryError(f"{name} is not set: it needs {permission}", 2)
    return environment[name]


def mine(texts: Iterable[tuple[Any, str, bool]], text: str) -> Any | None:
    """The first of (item, its text, is it the token's own) that begins with the text's first line.

    The first line is a hidden marker; one that a person pasted is left alone.
    """
    marker = text.partition("\n")[0]
    return next((item for item, old, own in texts if own and old.startswith(marker)), None)


def cut(text: str, limit: int) -> str:
    """The text, or as many whole lines as fit, and a word on the rest."""
    pointer = "\n\nThe rest did not fit here: see the full report among the artifacts of the run."
    if len(text) <= limit:
        return text
    return text[: limit - len(pointer)].rpartition("\n")[0] + pointer
