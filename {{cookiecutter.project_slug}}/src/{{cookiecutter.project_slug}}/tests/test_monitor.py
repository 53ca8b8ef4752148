"""The monitor: what it says of logs that are fine, of others, and of none."""

import datetime
import json
import subprocess
import sys
from pathlib import Path

import duckdb
import fsspec
import numpy as np
import pytest
import yaml

from .. import drift, monitor
from ..drift import Distribution
from ..monitoring import requests
from ..monitoring.live import compare
from ..stage import StageError
from . import log
from .conftest import PACKAGE

START, END = datetime.date(2026, 2, 21), datetime.date(2026, 3, 8)


@pytest.fixture(scope="session")
def lines(finished):
    """The log of two weeks after the release, in which nothing drifted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(finished)
        return log.answer(log.ask(START, END))


@pytest.fixture
def project(copy, monkeypatch):
    """A finished project that is watched up to the end of the two weeks."""
    path = Path("params.yaml")
    content = yaml.safe_load(path.read_text())
    content["monitor"] |= {"min_rows": 50}
    path.write_text(yaml.safe_dump(content))
    monkeypatch.setenv("UNTIL", str(END - datetime.timedelta(days=1)))
    return copy


def watch(lines, name="logs/a.jsonl"):
    """The report on these lines, and the exit code."""
    Path("logs").mkdir(exist_ok=True)
    Path(name).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    code = monitor.main()
    return json.loads(monitor.REPORT.read_text()), code


def states(report):
    return {check["name"]: check["state"] for check in report["checks"]}


def change(lines, **fields):
    return [line | fields for line in lines]


def test_a_service_that_does_as_released_is_well(project, lines, capsys):
    report, code = watch(lines)
    assert (report["state"], code) == ("ok", 0), report["verdict"]
    assert set(states(report).values()) == {"ok"}
    assert report["facts"]["requests"] == sum(report["days"].values()) == 840
    assert report["live"]["examples"] > 500
    assert 0.5 < report["live"]["matured"] < 0.6  # of fifteen days, the last seven are too young
    assert capsys.readouterr().out.startswith("OK: ")
    page = monitor.PAGE.read_text()
    assert "http" not in page.replace("https://docs.python.org", "")
    assert page.count("<svg") == len(report["findings"]) + len(report["live"]["comparisons"]) + 1


@pytest.mark.parametrize(
    ("fields", "check"),
    [
        ({"status": 500, "features": None, "ranking": None, "expected": None}, "errors"),
        ({"seconds": 2.0}, "latency"),
        ({"cold_start": True, "features": None, "served": "baseline"}, "cold starts"),
        ({"known_until": "2026-02-20T00:00:00+00:00"}, "features"),
        ({"time": "2026-03-03T00:00:00.000+00:00"}, "volume"),
    ],
)
def test_each_fault_of_the_service_is_named(project, lines, fields, check):
    report, code = watch(change(lines, **fields))
    assert (states(report)[check], code) == ("alarm", 1)
    assert report["verdict"].startswith("ALARM: ")


def test_somebody_who_joins_does_not_hide_that_no_events_arrive(project, lines):
    stale = change(lines, known_until="2026-02-20T00:00:00+00:00")
    report, _ = watch(lines[::20] + [line for n, line in enumerate(stale) if n % 20])
    assert states(report)["features"] == "alarm"


def test_a_broken_feature_is_named(project, lines):
    broken = [line | {"features": line["features"] | {"spend_84d": None}} for line in lines]
    report, code = watch(broken)
    drifted = [finding["name"] for finding in report["findings"] if finding["state"] == "alarm"]
    assert (drifted, code) == (["spend_84d"], 1)
    assert "spend_84d" in report["verdict"]


def test_a_model_that_promises_too_much_is_found_by_its_outcomes(project, lines):
    wrong = [line | {"expected": [9 * x for x in line["expected"]]} for line in lines]
    report, _ = watch(wrong)
    assert states(report)["outcomes"] == "alarm"
    assert "predicted_over_observed" in report["verdict"]


def test_a_model_that_ranks_the_wrong_way_round_is_found_by_its_outcomes(project, lines):
    turned = [line | {n: line[n][::-1] for n in ("ranking", "expected")} for line in lines]
    report, _ = watch(turned)
    states = {found["name"]: found["state"] for found in report["live"]["comparisons"]}
    assert states["rank_correlation"] == "alarm", report["live"]
    assert states["model_r2"] == "ok"  # each promotion is promised what it was
    assert "rank_correlation" in report["verdict"]
    assert "does more come of what is ranked higher?" in monitor.PAGE.read_text()


def test_too_few_lines_are_no_verdict_and_no_alarm(project, lines):
    report, code = watch(lines[-20:])
    assert (report["state"], code) == ("unknown", 0)
    assert {"drift", "outcomes", "latency"} <= {
        n for n, s in states(report).items() if s == "unknown"
    }
    assert report["verdict"].startswith("OK, but not enough data to judge: ")


def test_lines_of_another_model_are_told_and_judge_nothing_of_this_one(project, lines):
    report, _ = watch(change(lines, model="other"))
    findings = {finding["name"]: finding["state"] for finding in report["findings"]}
    assert findings[drift.PREDICTION] == states(report)["outcomes"] == "unknown"
    assert "other models" in next(c["sentence"] for c in report["checks"] if c["name"] == "model")


def test_a_line_that_was_cut_is_told_and_the_others_are_read(project, lines):
    Path("logs").mkdir()
    Path("logs/cut.jsonl").write_text('{"time":"2026-03-0\n')
    report, code = watch(lines)
    assert (report["facts"]["unreadable"], states(report)["log"], code) == (1, "alarm", 1)
    assert report["facts"]["requests"] == 840


def test_a_refused_request_counts_as_a_request_and_nothing_else(project, lines):
    refusal = dict.fromkeys(lines[0]) | {"time": lines[-1]["time"], "status": 422}
    report, code = watch([*lines, refusal])
    assert (report["facts"]["refused"], report["facts"]["rankings"], code) == (1, 840, 0)


def test_newer_events_that_break_the_contract_are_an_alarm(project, lines):
    path = Path("data/promotions.csv")
    path.write_text(path.read_text().replace("gift", "present"))
    report, code = watch(lines)
    assert (report["live"], code) == (None, 1)
    assert "message" in report["verdict"]


def test_the_log_may_lie_in_a_storage(project, lines, monkeypatch):
    with fsspec.open("memory://bucket/logs/a.jsonl", "w") as file:
        file.writelines(f"{json.dumps(line)}\n" for line in lines)
    monkeypatch.setenv("LOGS", "memory://bucket/logs/*.jsonl")
    assert monitor.main() == 0
    assert json.loads(monitor.REPORT.read_text())["facts"]["requests"] == 840


@pytest.mark.parametrize(
    ("logs", "says"), [("none/*.jsonl", "none/.*LOGS"), ("nowhere://logs", "nowhere.*unknown")]
)
def test_a_log_that_is_not_there_is_named(project, monkeypatch, logs, says):
    monkeypatch.setenv("LOGS", logs)
    with pytest.raises(StageError, match=says):
        monitor.main()


def test_not_to_look_is_exit_code_2_in_one_line(project):
    drift.REFERENCE.unlink()
    command = [sys.executable, "-m", f"{PACKAGE}.monitor"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.startswith("ERROR: the reports of the release")
    assert result.stderr.count("\n") == 1


def test_the_log_is_counted_in_the_same_bins_as_the_reference():
    values = np.random.default_rng(3).gamma(0.5, 3, 3000).astype(np.float32).round(1)
    values[:100] = np.nan
    like = Distribution.of(values)
    with duckdb.connect() as connection:
        text = [None if np.isnan(value) else float(value) for value in values]
        connection.execute("CREATE TABLE requests AS SELECT unnest(?)::FLOAT AS v", [text])
        assert requests.count(connection, "v", like, "true") == list(like.counts)


def test_the_reference_is_of_the_model_that_is_served(finished):
    reference = drift.Reference.load((finished / drift.REFERENCE).read_text())
    lineage = json.loads((finished / "models" / "lineage.json").read_text())
    assert reference.model == lineage["files"]["model.onnx"]
    assert set(reference.distributions) == {*log.NAMES, drift.PREDICTION}
    assert 50 < reference.rows < sum(reference.distributions["country"].counts)


@pytest.mark.parametrize(
    ("name", "live", "state"),
    [
        ("model_r2", (0.05, 0.02, 0.08), "alarm"),
        ("model_r2", (0.05, 0.02, 0.14), "ok"),
        ("model_r2", (0.5, 0.4, 0.6), "ok"),
        ("predicted_over_observed", (1.5, 1.4, 1.6), "alarm"),
        ("predicted_over_observed", (0.7, 0.65, 0.75), "alarm"),
        ("predicted_over_observed", (0.98, 0.94, 1.02), "ok"),
        ("predicted_over_observed", (None, None, None), "unknown"),
    ],
)
def test_an_outcome_alarms_where_it_is_far_from_the_promise_and_worse(name, live, state):
    ends = ("value", "low", "high")
    promised = {"model_r2": (0.2, 0.15, 0.25), "predicted_over_observed": (1.1, 1.08, 1.12)}
    released = {"error": {n: dict(zip(ends, v, strict=True)) for n, v in promised.items()}}
    metrics = {"error": {name: dict(zip(ends, live, strict=True))}}
    (found,) = compare(metrics, released)
    assert (found.name, found.state) == (name, state)
