"""Monitor: is the model that is deployed still the one that was released? By `make monitor`.

It reads the prediction log and newer events up to now, or to the end of the day UNTIL, and writes
reports/monitor.json and reports/monitor.html. Exit code 0: all is well, or there are too few data
to say; 1: an alarm; 2: it could not look. Run it at the commit that is deployed.
"""

import datetime
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb

from . import collect, drift, evaluate, params, refresh, stage, tables
from .contract import TASK
from .drift import PREDICTION, Finding, Reference, State
from .monitoring import checks, live, page, requests
from .monitoring.checks import Check
from .monitoring.live import Live
from .params import Monitor, Params
from .stage import StageError, replacing

REPORT = Path("reports/monitor.json")
PAGE = Path("reports/monitor.html")
DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Watch:
    """All that was found between two moments.

    Attributes:
        verdict, state: over all checks, in one line and in one word.
        model: SHA-256 of the model that is watched.
        facts: counts and quantiles of the log; `days`: requests by day.
        findings: of drift, one a feature and one of the prediction.
        live: of the outcomes; None if they cannot be had.
    """

    verdict: str
    state: State
    start: str
    end: str
    model: str
    checks: list[Check]
    facts: dict[str, Any]
    days: dict[str, int]
    findings: list[Finding]
    live: Live | None


def main() -> int:
    """Write the report, print the verdict; 1 if it is an alarm."""
    parameters = params.load()
    with tempfile.TemporaryDirectory(prefix="monitor-") as folder:
        found = watch(parameters, _end(), Path(folder))
    content = asdict(found)
    with replacing(REPORT) as new:
        new.write_text(json.dumps(content, indent=1) + "\n")
    with replacing(PAGE) as new:
        new.write_text(page.write(content))
    print(f"{found.verdict}\nopen {PAGE}")
    return 1 if found.state == "alarm" else 0


def _end() -> datetime.datetime:
    if os.environ.get("UNTIL"):
        return datetime.datetime.combine(refresh.last_day(), datetime.time()) + DAY
    return datetime.datetime.now(datetime.UTC).replace(tzinfo=None, microsecond=0)


def watch(parameters: Params, end: datetime.datetime, folder: Path) -> Watch:
    """Look at the days before `end`; the folder is for what is needed in between."""
    settings, (reference, release) = parameters.monitor, _release()
    start = end - settings.days * DAY
    with tables.connect(parameters.engine) as connection:
        logs = os.environ.get("LOGS") or settings.logs
        first = min(start, end - settings.live_days * DAY)
        unreadable = requests.read(connection, logs, first, end, folder)
        facts = requests.facts(connection, start, end, reference.model)
        facts["unreadable"] = unreadable
        findings = compare(connection, reference, settings, start)
        outcomes, outcome = follow(connection, parameters, reference.model, release, end, folder)
        days = requests.volume(connection, start)
    found = [
        *checks.check_service(facts, settings),
        *checks.check_freshness(facts, (end - parameters.collect.cutoff) / DAY, settings),
        checks.check_drift(findings),
        outcome,
    ]
    moments = (start.isoformat(), end.isoformat())
    verdict = checks.summarise(found)
    return Watch(*verdict, *moments, reference.model, found, facts, days, findings, outcomes)


def _release() -> tuple[Reference, dict]:
    try:
        reference = Reference.load(drift.REFERENCE.read_text())
        return reference, json.loads(evaluate.METRICS.read_text())
    except (OSError, ValueError) as error:
        sentence = f"the reports of the release cannot be read ({error}): `make reproduce`"
        raise StageError(sentence) from None


def compare(
    connection: duckdb.DuckDBPyConnection,
    reference: Reference,
    settings: Monitor,
    start: datetime.datetime,
) -> list[Finding]:
    """Drift of each feature, and of the predictions of this model, since `start`."""
    known = f"time >= TIMESTAMP '{start}' AND status = 200 AND NOT unknown"
    own = f"{known} AND served = 'model' AND model = '{reference.model}'"
    rows = {where: drift.effective(requests.groups(connection, where)) for where in (known, own)}
    alpha = settings.alpha / len(reference.distributions)
    findings = []
    for name, like in reference.distributions.items():
        where = own if name == PREDICTION else known
        counts = requests.count(connection, name, like, where)
        expected, observed = (like.counts, reference.rows), (counts, rows[where])
        limits = (alpha, settings.floor, settings.min_rows)
        findings.append(drift.judge(name, expected, observed, *limits))
    return findings


def follow(
    connection: duckdb.DuckDBPyConnection,
    parameters: Params,
    model: str,
    release: dict,
    end: datetime.datetime,
    folder: Path,
) -> tuple[Live | None, Check]:
    """What became of the rankings, by the source's tables up to the last midnight before `end`."""
    until = end.date() - DAY
    section = parameters.collect.model_copy(update={"until": until})
    try:
        collect.snapshot(parameters.model_copy(update={"collect": section}), folder / "raw")
    except StageError as error:
        return None, Check("outcomes", "alarm", f"newer events cannot be had: {error}")
    tables.view(connection, TASK.examples, folder / "raw" / f"{TASK.examples}.parquet")
    found = live.measure(connection, parameters, model, release)
    return found, checks.check_outcomes(found)


if __name__ == "__main__":
    stage.run(main, failure=2)
