"""The monitor finds each drift at the size that the README names, and is silent without one."""

import json

import pytest
from conftest import PYTHON, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("project")]
FOUND_BY = {
    "feature_shift": {"drift"},
    "new_country": {"drift"},
    "stale_pipeline": {"drift", "features"},
    "broken_feature": {"drift"},
    "concept": {"outcomes"},
    None: set(),
}
EACH, WITHOUT = 2, 6


def test_the_monitor_is_right_of_some_worlds(living, user):
    benchmark = ROOT / "benchmarks" / "drift.py"
    done = user(*PYTHON, benchmark, WITHOUT, EACH, "--documented", cwd=living)
    worlds = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(worlds) == EACH * (len(FOUND_BY) - 1) + WITHOUT
    assert {world["kind"] for world in worlds} == set(FOUND_BY)
    wrong = [w for w in worlds if not FOUND_BY[w["kind"]] <= set(w["alarms"])]
    wrong += [w for w in worlds if w["kind"] is None and w["alarms"]]
    assert not wrong
