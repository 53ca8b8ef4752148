"""Ranking: the model, its baseline and the online features."""

import os
from collections.abc import Iterator
from itertools import chain, islice, repeat
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from . import model, schema, store
from .contract import TASK
from .errors import StageError
from .model import Model
from .schema import Row
from .serving.messages import ACTION, ACTIONS, RefusedError
from .store import MISSING, LiveStore

if TYPE_CHECKING:
    from .redis_store import RedisStore

LARGEST = float(np.finfo(np.float32).max)
Served = Literal["model", "baseline"]


class Ranking(NamedTuple):
    """What was ranked, best first, and what is behind it.

    Attributes:
        actions: ids (m,); [None] when the task has no choice.
        expected: expected target (m,) of each.
        served: what the order is from.
        cold_start: nothing is known of the entity, so the baseline served.
        known_until: microseconds since 1970; None if the features were not looked up.
        features: (k,) float32; None at a cold start.
    """

    actions: list[int | None]
    expected: list[float]
    served: Served
    cold_start: bool
    known_until: int | None
    features: np.ndarray | None


class Ranker:
    """Ranks what can be chosen, for one or for several at once: the same to the last bit."""

    def __init__(self, served: Served = "model") -> None:
        """Open all that it needs; raises StageError that says what is missing or does not fit."""
        try:
            self.lineage = model.open_lineage(TASK.encoding)
            baseline = model.open_baseline()
            self._model = Model.open() if served == "model" else None
            self.store = _open_store(schema.encoding(TASK.features))
        except (OSError, ValueError) as error:
            raise StageError(f"{error}; `make reproduce` or `dvc pull` mends it") from None
        self.served: Served = served
        self.version: str = self.lineage["files"][model.ONNX]
        self._actions = baseline.action_ids.tolist() or [None]
        self._places = {action: place for place, action in enumerate(self._actions)}
        means = baseline.means.tolist() if TASK.choice else [baseline.overall]
        self.means: dict[int | None, float] = dict(zip(self._actions, means, strict=True))
        self._encoding = schema.encoding(TASK.features)
        self._choices = baseline.inputs if TASK.choice else np.empty((1, 0), np.float32)
        self.labels: dict[int, str] = {}
        if TASK.choice:
            coded = dict(zip(baseline.action_ids.tolist(), baseline.inputs.tolist(), strict=True))
            names = schema.encoding(TASK.choice.features)
            self.labels = {action: _words(codes, names) for action, codes in coded.items()}

    def rank(self, entity: int, chosen: list[int] | None) -> Ranking:
        """Rank for an entity by id; raises RefusedError for an action that the model lacks."""
        return self.rank_together([entity], [self.find(chosen)])[0]

    def rank_together(self, entities: list[int], places: list[list[int]]) -> list[Ranking]:
        """Rank for several, each among its own places: one look-up, one call of the model."""
        features, known_until = self.store.current().get(entities)
        return self._order(features, known_until.tolist(), places)

    def rank_features(self, row: Row, chosen: list[int] | None) -> Ranking:
        """Rank by features, for callers that have them; RefusedError for one beyond float32."""
        for name, value in row:
            if isinstance(value, int | float) and abs(value) > LARGEST:
                raise RefusedError(422, f"features.{name} is too large for the model")
        features = np.array([schema.encode(row, self._encoding)], np.float32)
        return self._order(features, [None], [self.find(chosen)])[0]

    def find(self, chosen: list[int] | None) -> list[int]:
        """Places of actions among all that the model knows; RefusedError if it lacks one."""
        if chosen is None:
            return list(self._places.values())
        try:
            places = [self._places[action] for action in chosen]
        except KeyError as error:
            raise RefusedError(422, f"{ACTION} {error} is none that the model knows") from None
        if len(set(places)) < len(places):
            raise RefusedError(422, f"{ACTIONS} must be distinct")
        return places

    def _order(
        self, features: np.ndarray, known_until: list[int | None], places: list[list[int]]
    ) -> list[Ranking]:
        predicted = self._predict(self._model, features, places) if self._model else repeat(None)
        means, rankings = list(self.means.values()), []
        for row, moment, some, values in zip(
            features, known_until, places, predicted, strict=False
        ):
            cold, served, expected = moment == MISSING, "model", values
            if expected is None or cold:
                served, expected = "baseline", [means[place] for place in some]
            # lists, not arrays: for so few numbers every call into numpy costs more than the work
            order = sorted(range(len(some)), key=expected.__getitem__, reverse=True)
            actions = [self._actions[some[position]] for position in order]
            expected = [expected[position] for position in order]
            known = (None, None) if cold else (moment, row)
            rankings.append(Ranking(actions, expected, served, cold, *known))
        return rankings

    def _predict(
        self, fitted: Model, features: np.ndarray, places: list[list[int]]
    ) -> Iterator[list[float]]:
        counts = list(map(len, places))
        rows = np.repeat(features, counts, axis=0)
        inputs = np.hstack([rows, self._choices[list(chain.from_iterable(places))]])
        predicted = iter(fitted.predict(inputs).tolist())
        return (list(islice(predicted, count)) for count in counts)


def _open_store(encoding: dict[str, list[str]]) -> "LiveStore | RedisStore":
    if not (url := os.environ.get("FEATURES_STORE")):
        return LiveStore(store.ONLINE, encoding)
    try:
        from .redis_store import RedisStore  # only where it is chosen
    except ModuleNotFoundError:
        raise OSError("FEATURES_STORE needs a library: uv add --group serve redis") from None
    return RedisStore(url, encoding)


def _words(codes: list[float], encoding: dict[str, list[str]]) -> str:
    """What an action is, for people: its categories by name, its numbers rounded."""
    pairs = zip(codes, encoding.values(), strict=True)
    return " · ".join(options[int(code)] if options else f"{code:.4g}" for code, options in pairs)
