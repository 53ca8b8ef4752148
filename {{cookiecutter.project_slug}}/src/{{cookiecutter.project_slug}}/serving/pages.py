"""The pages for people, and the OpenAPI document behind them; all from here, nothing from a CDN."""

import functools
import json
from collections.abc import Callable
from pathlib import Path

from msgspec.json import encode

from . import openapi
from .messages import ACTION, ACTIONS, ENTITY, EXPECTED, Answer

FOLDER = Path(__file__).parent
POLICY = (
    "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HTML = {"content-type": "text/html; charset=utf-8", "content-security-policy": POLICY}


def routes(labels: dict[int, str], keys: bool) -> dict[str, Callable[[], Answer]]:
    """The paths of the pages; each is made when it is first asked for."""
    names = {"entity": ENTITY, "action": ACTION, "actions": ACTIONS, "expected": EXPECTED}
    facts = {"title": openapi.TITLE, **names, "labels": labels, "keys": keys}
    return {
        "/": functools.cache(lambda: _page("page.html", facts)),
        "/docs": functools.cache(lambda: _page("docs.html", facts)),
        "/openapi.json": functools.cache(lambda: Answer(encode(openapi.document(keys)))),
    }


def _page(name: str, facts: dict) -> Answer:
    content = json.dumps(facts).replace("<", "\\u003c")  # no text can end the script element
    return Answer((FOLDER / name).read_text().replace("FACTS", content).encode(), headers=HTML)
