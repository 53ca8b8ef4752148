"""What is checked, each in one sentence, and the verdict over all."""

from dataclasses import dataclass
from typing import Any

from ..drift import Finding, State
from ..params import Monitor
from .live import Live


@dataclass(frozen=True)
class Check:
    """One thing that is watched, and what is to be said of it."""

    name: str
    state: State
    sentence: str


def summarise(checks: list[Check]) -> tuple[str, State]:
    """The verdict in one line."""
    alarms = [check for check in checks if check.state == "alarm"]
    unknown = [check.name for check in checks if check.state == "unknown"]
    if alarms:
        return "ALARM: " + "; ".join(check.sentence for check in alarms), "alarm"
    if unknown:
        return f"OK, but not enough data to judge: {', '.join(unknown)}", "unknown"
    return "OK: the service does what its release promised", "ok"


def check_service(facts: dict[str, Any], settings: Monitor) -> list[Check]:
    """Volume, errors, the log itself, latency and cold starts."""
    count, ranked = facts["requests"], facts["rankings"]
    few = ranked < settings.min_rows
    volume = f"{facts['last_day']:,} requests on the last day, {count:,} in {settings.days} days"
    errors = facts["errors"] / max(count, 1)
    failed = f"{errors:.2%} of requests failed, {facts['refused']:,} were refused"
    lines = facts["unreadable"]
    median, _, slow = (1000 * (x or 0) for x in facts["seconds"] or (0, 0, 0))
    latency = f"half of the rankings take {median:.2f} ms, one of a hundred over {slow:.2f} ms"
    cold = facts["cold_starts"] / max(ranked, 1)
    unknown = f"{cold:.1%} of rankings are for somebody unknown"
    return [
        _judge("volume", facts["last_day"] < settings.min_requests_a_day, volume),
        _judge("errors", errors > settings.max_error_share, failed, not count),
        _judge("log", lines > 0, f"{lines:,} lines of the log cannot be read"),
        _judge("latency", slow > 1000 * settings.max_p99_seconds, latency, few),
        _judge("cold starts", cold > settings.max_cold_start_share, unknown, few),
    ]


def check_freshness(facts: dict[str, Any], model_age: float, settings: Monitor) -> list[Check]:
    """What the rankings know of the days before them, and the model of those before now."""
    age = facts["feature_age_days"]
    unknown = age is None or facts["rankings"] < settings.min_rows
    newest = f"nine of ten rankings know nothing of the {age or 0:.1f} days before them"
    learned = f"the model knows nothing of the last {max(model_age, 0):.0f} days"
    others = facts["other_models"]
    foreign = f"; {others:,} rankings are of other models" if others else ""
    return [
        _judge("features", (age or 0) > settings.max_feature_age_days, newest, unknown),
        _judge("model", model_age > settings.max_model_age_days, learned + foreign),
    ]


def check_drift(findings: list[Finding]) -> Check:
    """All distributions in one sentence."""
    drifted = [finding for finding in findings if finding.state == "alarm"]
    if drifted:
        worst = sorted(drifted, key=lambda finding: -(finding.psi or 0))
        named = ", ".join(f"{finding.name} ({finding.psi:.2f})" for finding in worst)
        return Check("drift", "alarm", f"not as at the release (PSI): {named}")
    unknown = all(finding.state == "unknown" for finding in findings)
    return _judge("drift", False, "features and predictions are as at the release", unknown)


def check_outcomes(found: Live) -> Check:
    """The metrics since the release in one sentence."""
    worse = [x for x in found.comparisons if x.state == "alarm"]
    if worse:
        named = ", ".join(
            f"{x.name} is {x.live['value']:.2f}, promised was {x.release['value']:.2f}"
            for x in worse
        )
        return Check("outcomes", "alarm", f"outcomes are not as promised: {named}")
    sentence = f"{found.examples:,} outcomes are as the release promised"
    return _judge("outcomes", False, sentence, not found.comparisons)


def _judge(name: str, broken: bool, sentence: str, unknown: bool = False) -> Check:
    if unknown:
        return Check(name, "unknown", "not enough data")
    return Check(name, "alarm" if broken else "ok", sentence)
