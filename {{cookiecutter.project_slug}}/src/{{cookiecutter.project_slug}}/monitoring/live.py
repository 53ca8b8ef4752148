"""Live performance: rankings of the log joined with the outcomes that have come since."""

from dataclasses import dataclass

import duckdb
import numpy as np

from .. import evaluate, model, policy
from ..contract import TASK
from ..drift import State
from ..examples import Examples
from ..params import Params

# metrics by group, with what each says, and the best that it can be; None: the more the better
WATCHED = {
    ("error", "model_r2"): ("share of what differs between outcomes that is explained", None),
    ("error", "predicted_over_observed"): ("1 is neither too high nor too low", 1.0),
    ("policy", "model_over_random"): ("what the best-ranked earns more than one at random", None),
    ("policy", "rank_correlation"): ("does more come of what is ranked higher? 0 is chance", None),
}
WIDER = 1.5
Interval = dict[str, float | None]


@dataclass(frozen=True)
class Comparison:
    """A metric since the release, beside what the release promised."""

    name: str
    meaning: str
    state: State
    live: Interval
    release: Interval


@dataclass(frozen=True)
class Live:
    """What became of the rankings.

    Attributes:
        examples: outcomes that belong to a ranking.
        matured: share of the rankings that are old enough to have an outcome.
    """

    examples: int
    matured: float | None
    comparisons: list[Comparison]


def measure(
    connection: duckdb.DuckDBPyConnection, parameters: Params, digest: str, release: dict
) -> Live:
    """Join the view `requests` with the table of examples; metrics like those of the release."""
    answered = f"FROM requests WHERE status = 200 AND served = 'model' AND model = '{digest}'"
    connection.execute(f"CREATE TEMP VIEW answered AS SELECT * {answered}")
    newest = f"(SELECT max({TASK.moment}) FROM {TASK.examples})"
    shares = f"SELECT count(*) FILTER (time <= {newest}) / count(*) FROM answered"
    (matured,) = connection.execute(shares).fetchone() or (None,)
    outcomes = join(connection, parameters.monitor.match_hours)
    if len(outcomes["entity_id"]) < parameters.monitor.min_rows:
        return Live(len(outcomes["entity_id"]), matured, [])
    metrics = _metrics(outcomes, parameters)
    return Live(metrics["examples"], matured, compare(metrics, release))


def join(connection: duckdb.DuckDBPyConnection, hours: float) -> dict[str, np.ndarray]:
    """Each example with the last ranking before it, if what was shown was ranked."""
    action, propensity = "0", "1.0"
    predicted, chosen, place = "expected[1]", "0", "0"
    if choice := TASK.choice:
        action, propensity = f"example.{choice.key}", f"example.{choice.propensity}"
        number = f"list_position(ranking, {action})"
        predicted, chosen = f"expected[{number}]", "ranking[1]"
        place = f"({number} - 1) / len(ranking)"
    age = f"epoch(example.{TASK.moment} - time)"
    query = f"""
        SELECT example.{TASK.entity_id} AS entity_id,
            any_value(example.{TASK.target})::DOUBLE AS target,
            any_value({action}) AS action_id, any_value({propensity})::DOUBLE AS propensity,
            arg_max({predicted}, time) AS predicted, arg_max({chosen}, time) AS chosen,
            arg_max({place}, time) AS place
        FROM answered JOIN {TASK.examples} AS example
        ON answered.entity_id = example.{TASK.entity_id} AND {age} BETWEEN 0 AND {hours * 3600}
        WHERE {predicted} IS NOT NULL
        GROUP BY example.{TASK.example_id}, example.{TASK.entity_id}
        ORDER BY ALL
    """
    columns = connection.execute(query).fetchnumpy()
    return {name: np.asarray(column) for name, column in columns.items()}


def _metrics(outcomes: dict[str, np.ndarray], parameters: Params) -> dict:
    baseline = model.open_baseline()
    shown = outcomes["action_id"]
    examples = Examples(
        outcomes["entity_id"],
        outcomes["target"],
        np.empty((len(shown), 0), np.float32),
        shown,
        outcomes["propensity"],
        {},
    )
    predicted = outcomes["predicted"].astype(float)
    terms = evaluate.error_terms(examples.target, predicted, baseline.predict(shown))
    if TASK.choice:
        chosen = policy.choose(outcomes["chosen"], baseline, examples)
        terms |= policy.terms(chosen, examples)
        terms |= policy.order_terms(outcomes["place"], examples)
    certain = {"confidence": parameters.monitor.confidence}
    return evaluate.measure(terms, examples, parameters.evaluate.model_copy(update=certain))


def compare(metrics: dict, release: dict) -> list[Comparison]:
    """Alarm where the interval is far from that of the release, and not for the better."""
    found = []
    for (group, name), (meaning, best) in WATCHED.items():
        if name in metrics.get(group, {}) and name in release.get(group, {}):
            live, promised = metrics[group][name], release[group][name]
            state = _judge(live, promised, best)
            found.append(Comparison(name, meaning, state, live, promised))
    return found


def _judge(live: Interval, promised: Interval, best: float | None) -> State:
    if None in (*live.values(), *promised.values()):
        return "unknown"
    (low, high), (promised_low, promised_high) = _widen(live), _widen(promised)
    below, above = high < promised_low, low > promised_high
    if best is not None:
        return "alarm" if (below or above) and not low <= best <= high else "ok"
    return "alarm" if below else "ok"


def _widen(interval: Interval) -> tuple[float, float]:
    """Of few outcomes with a long tail, such as revenue, a bootstrap's intervals are too narrow."""
    value, low, high = (float(interval[end] or 0) for end in ("value", "low", "high"))
    return value - WIDER * (value - low), value + WIDER * (high - value)
