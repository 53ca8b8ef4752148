"""Drift: bins, independent rows, and how often an alarm is false or missed."""

import numpy as np
import pytest

from .. import drift
from ..drift import Distribution, Reference


def judge(reference, current, rows=None, alpha=0.01, floor=0.0):
    like = Distribution.of(reference)
    inside = np.bincount(np.searchsorted(like.edges, current), minlength=len(like.edges) + 1)
    return drift.judge(
        "it",
        (like.counts, len(reference)),
        ((*inside.tolist(), 0), rows or len(current)),
        alpha,
        floor,
        min_rows=50,
    )


def test_a_bin_ends_at_its_edge_and_missing_is_a_bin():
    found = Distribution.of(np.array([0, 0, 0, 0, 0, 0, 1, 2, 3, np.nan], np.float32))
    assert found.edges == (0.0, 1.0, 2.0)
    assert found.counts == (6, 1, 1, 1, 1)
    assert Distribution.of(np.array([0.0, 2.0, 2.0]), categories=3).counts == (1, 0, 2, 0, 0)
    assert sum(Distribution.of(np.full(4, np.nan)).counts) == 4


def test_rows_of_one_entity_count_once():
    assert drift.effective(np.array([1, 1, 1, 1])) == 4
    assert drift.effective(np.array([100])) == 1
    assert drift.effective(np.array([2, 2])) == 2


@pytest.mark.parametrize("rows", [100, 1000])
def test_where_nothing_drifted_alarms_are_as_rare_as_alpha_says(rows):
    random = np.random.default_rng(rows)
    states = [judge(random.normal(size=2000), random.normal(size=rows)).state for _ in range(400)]
    assert states.count("alarm") <= 10  # of 4 that alpha expects


def test_a_shift_is_found_with_enough_rows_and_a_trifle_is_not_told():
    random = np.random.default_rng(1)
    reference = random.normal(size=20_000)
    assert judge(reference, random.normal(0.2, size=2000)).state == "alarm"
    assert judge(reference, random.normal(0.2, size=2000), floor=0.1).state == "ok"
    assert judge(reference, random.normal(1, size=2000), floor=0.1).state == "alarm"


def test_what_was_never_seen_is_found_and_too_few_rows_are_no_verdict():
    reference, new = (5000, 5000, 0, 0, 0), (4500, 4500, 1000, 0, 0)
    assert drift.judge("it", (reference, 10_000), (new, 10_000), 0.01, 0.1, 50).state == "alarm"
    finding = drift.judge("it", (reference, 10_000), (new, 49), 0.01, 0.1, 50)
    assert (finding.state, finding.psi) == ("unknown", None)


def test_a_reference_is_read_as_it_was_written():
    reference = Reference("abc", 12.5, {"a": Distribution((0.0, 1.5), (1, 2, 3, 4))})
    read = Reference.load(reference.dump())
    assert read.model == "abc"
    assert list(read.distributions["a"].edges) == [0.0, 1.5]
    with pytest.raises(ValueError, match="form"):
        Reference.load('{"model": 1}')
