"""The service: rankings over HTTP from one ASGI application, as small as the work allows."""

import asyncio
import datetime
import hashlib
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from operator import add
from typing import Any

from msgspec import Raw
from msgspec.json import encode

from ..contract import TASK
from ..errors import UnavailableError
from ..params import Serve
from ..ranking import Ranker, Ranking
from . import metrics, pages, state
from .batch import Batch
from .journal import Journal
from .messages import (
    ACTIONS,
    ENTITY,
    Answer,
    Predict,
    Rank,
    RefusedError,
    item_head,
    parse,
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

FEATURES = tuple(TASK.features.model_fields)

log = logging.getLogger(__name__)


class DisconnectedError(Exception):
    """The client went away before its request was complete."""


class Service:
    """The ASGI application: all requests are worked on by the one thread it has."""

    def __init__(self, settings: Serve, ranker: Ranker, keys: list[bytes]) -> None:
        """Serve with a ranker; raises OSError if the prediction log cannot be opened."""
        self._settings, self._ranker, self._keys = settings, ranker, keys
        self._batch = Batch(ranker)
        self._journal = Journal(settings.log, settings.log_fields)
        self._heads = {action: item_head(action, mean) for action, mean in ranker.means.items()}
        self._arriving = 0
        self._posts = {"/rank": self._rank, "/predict": self._predict}
        self._gets = {
            **state.routes(ranker, settings.max_feature_age_days),
            **pages.routes(ranker.labels, bool(keys)),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request; an answer never shows more than one sentence of a fault."""
        start, path = time.perf_counter(), scope["path"]
        try:
            answer = await self._answer(scope["method"], path, scope, receive)
        except RefusedError as refusal:
            answer = _refuse(refusal)
        except UnavailableError as fault:
            answer = _refuse(RefusedError(503, str(fault), retry_after="1"))
        except DisconnectedError:
            return
        except Exception:
            log.exception("%s failed", path)
            answer = _refuse(RefusedError(500, "the service failed; its own log says why"))
        size = str(len(answer.body)).encode()
        headers = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
        headers += [(b"content-length", size), (b"x-content-type-options", b"nosniff")]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})
        self._note(path, answer, time.perf_counter() - start)

    async def _answer(self, method: str, path: str, scope: Scope, receive: Receive) -> Answer:
        if method == "POST" and (post := self._posts.get(path)):
            self._check_key(scope)
            return await post(await self._read(receive))
        if method in ("GET", "HEAD") and (get := self._gets.get(path)):
            return get()
        if path in self._posts or path in self._gets:
            allowed = "POST" if path in self._posts else "GET, HEAD"
            raise RefusedError(405, f"this path takes {allowed}", allow=allowed)
        raise RefusedError(404, "there is no such path; /docs lists them")

    def _check_key(self, scope: Scope) -> None:
        if not self._keys:
            return
        given = dict(scope["headers"]).get(b"authorization", b"").removeprefix(b"Bearer ")
        digest = hashlib.sha256(given).digest()
        if not sum(hmac.compare_digest(digest, key) for key in self._keys):  # always all of them
            raise RefusedError(401, "the API key is missing or wrong", www_authenticate="Bearer")

    async def _read(self, receive: Receive) -> bytes:
        if self._arriving >= self._settings.max_concurrent:
            raise RefusedError(503, "too many requests at once; try again", retry_after="1")
        self._arriving += 1
        try:
            async with asyncio.timeout(self._settings.max_body_seconds):
                return await self._read_whole(receive)
        except TimeoutError:
            raise RefusedError(408, "the body came too slowly", connection="close") from None
        finally:
            self._arriving -= 1

    async def _read_whole(self, receive: Receive) -> bytes:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise DisconnectedError
            body, more = body + message.get("body", b""), message.get("more_body", False)
            if len(body) > (limit := self._settings.max_body_bytes):
                raise RefusedError(413, f"the body is larger than {limit} bytes")
        return body

    async def _rank(self, body: bytes) -> Answer:
        request = parse(Rank, body)
        entity = getattr(request, ENTITY)
        return self._tell(await self._batch.rank(entity, _chosen(request)), entity)

    async def _predict(self, body: bytes) -> Answer:
        request = parse(Predict, body)
        return self._tell(self._ranker.rank_features(request.features, _chosen(request)), None)

    def _tell(self, ranking: Ranking, entity: int | None) -> Answer:
        shared = {
            "served": ranking.served,
            "cold_start": ranking.cold_start,
            "model": self._ranker.version,
            "known_until": state.moment(ranking.known_until),
        }
        age = state.age(ranking.known_until)
        if age is not None:
            metrics.RANKING_AGE.observe(age)
        expected = encode(ranking.expected)
        numbers = expected[1:-1].split(b",")
        items = b"},".join(map(add, map(self._heads.__getitem__, ranking.actions), numbers))
        content = {"ranking": Raw(b"[%b}]" % items), **shared, "feature_age_seconds": age}
        record = {
            "entity_id": entity,
            "ranking": ranking.actions,
            "expected": Raw(expected),
            "features": None,
            **shared,
        }
        if ranking.features is not None:
            record["features"] = dict(zip(FEATURES, ranking.features.tolist(), strict=True))
        return Answer(encode(content), record=record)

    def _note(self, path: str, answer: Answer, seconds: float) -> None:
        known = path in self._posts or path in self._gets
        metrics.seconds(path if known else "other", answer.status).observe(seconds)
        if path not in self._posts:
            return
        record = answer.record or {}
        if record:
            metrics.rankings(record["served"], record["cold_start"]).inc()
        now = datetime.datetime.now(datetime.UTC)
        record |= {
            "time": now,
            "route": path,
            "status": answer.status,
            "seconds": round(seconds, 6),
        }
        if not self._journal.waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._journal.add(record)

    def _flush(self) -> None:
        if lost := self._journal.flush():
            metrics.LOG_FAILURES.inc(lost)


def _refuse(refusal: RefusedError) -> Answer:
    headers = {"content-type": "application/json", **refusal.headers}
    return Answer(encode({"error": str(refusal)}), refusal.status, headers)


def _chosen(request: Any) -> list[int] | None:
    return getattr(request, ACTIONS) if ACTIONS else None
