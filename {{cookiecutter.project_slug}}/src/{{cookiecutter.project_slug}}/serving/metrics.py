"""What /metrics tells Prometheus. With several workers, PROMETHEUS_MULTIPROC_DIR joins theirs."""

import functools
import os

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

DAY = 86_400
LATENCIES = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5)
AGES = (DAY / 24, DAY / 4, DAY, 2 * DAY, 7 * DAY, 28 * DAY, 84 * DAY)

SECONDS = Histogram(
    "request_seconds", "Time from a request to its answer.", ["route", "status"], buckets=LATENCIES
)
RANKINGS = Counter("rankings", "Rankings given, by what they came from.", ["served", "cold_start"])
RANKING_AGE = Histogram(
    "ranking_feature_age_seconds", "Age of the newest fact behind a ranking.", buckets=AGES
)
FEATURE_AGE = Gauge(
    "feature_age_seconds", "Age of the newest fact in the table.", multiprocess_mode="mostrecent"
)
FEATURES_REFUSED = Gauge(
    "features_refused", "1 while a new table of features is refused.", multiprocess_mode="max"
)
LOG_FAILURES = Counter("prediction_log_failures", "Rankings that are not in the prediction log.")
MODEL = Gauge(
    "model_info",
    "1, with what is served.",
    ["revision", "model", "data", "served"],
    multiprocess_mode="mostrecent",
)


seconds = functools.cache(SECONDS.labels)  # to find a child by its labels costs more than to count
rankings = functools.cache(RANKINGS.labels)


def expose() -> bytes:
    """All of them in Prometheus' text format."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest()
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return generate_latest(registry)
