"""What the service says of itself: is it ready, what does it serve, how old are its features."""

import datetime
import os
import time
from collections.abc import Callable

from msgspec.json import encode
from prometheus_client import CONTENT_TYPE_LATEST

from ..ranking import Ranker
from . import metrics
from .messages import Answer, RefusedError

DAY = 86_400
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
REVISION = os.environ.get("GIT_REVISION", "unknown")
REVISION_TIME = os.environ.get("GIT_TIME", "unknown")


def routes(ranker: Ranker, limit: float | None) -> dict[str, Callable[[], Answer]]:
    """The paths for those who run it; with a limit in days, older features are not ready."""
    return {
        "/healthz": lambda: Answer(b'{"alive":true}'),
        "/readyz": lambda: ready(ranker, limit),
        "/version": lambda: version(ranker),
        "/metrics": lambda: expose(ranker),
    }


def ready(ranker: Ranker, limit: float | None) -> Answer:
    """Whether it should get requests; raises RefusedError if the features are too old."""
    known_until = ranker.store.current().meta["known_until"]
    seconds = age(known_until) or 0
    if limit is not None and seconds > limit * DAY:
        sentence = f"the features are {seconds / DAY:.1f} days old, and at most {limit} are allowed"
        raise RefusedError(503, sentence)
    state = {
        "ready": True,
        "known_until": moment(known_until),
        "feature_age_seconds": seconds,
        "warning": ranker.store.error,
    }
    return Answer(encode(state))


def version(ranker: Ranker) -> Answer:
    """Which code, model and data answer, by their hashes and dates."""
    state = {
        "revision": REVISION,
        "revision_time": REVISION_TIME,
        "model_hash": os.environ.get("MODEL_HASH", "unknown"),
        "data_hash": os.environ.get("DATA_HASH", "unknown"),
        "model": ranker.version,
        "data": ranker.lineage["data"],
        "data_until": ranker.lineage["parameters"]["collect"]["until"],
        "features_until": ranker.store.current().meta["cutoff"],
        "served": ranker.served,
    }
    return Answer(encode(state))


def expose(ranker: Ranker) -> Answer:
    """The metrics, with the age that the features have now."""
    metrics.FEATURE_AGE.set(age(ranker.store.current().meta["known_until"]) or 0)
    metrics.FEATURES_REFUSED.set(ranker.store.error is not None)
    data = next(iter(ranker.lineage["data"].values()))
    metrics.MODEL.labels(REVISION, ranker.version, data, ranker.served).set(1)
    return Answer(metrics.expose(), headers={"content-type": CONTENT_TYPE_LATEST})


def moment(microseconds: int | None) -> datetime.datetime | None:
    """Microseconds since 1970 as a time."""
    return None if microseconds is None else EPOCH + datetime.timedelta(0, 0, microseconds)


def age(microseconds: int | None) -> float | None:
    """Seconds since then; 0 when the clock is behind the data."""
    return None if microseconds is None else max(0.0, time.time() - microseconds / 1e6)
