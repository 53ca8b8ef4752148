"""The prediction log: allowed fields only, whole lines, and a full disk stops nothing."""

import errno
import json
import math
import os

import pytest

from ..serving import journal
from ..serving.journal import Journal

RECORD = {"time": "now", "entity_id": 7, "features": {"a": math.nan}, "secret": "no"}


def test_only_allowed_fields_are_written_one_line_each(tmp_path):
    log = Journal(str(tmp_path / "log"), ["time", "features"])
    assert log.write(RECORD)
    assert log.write(RECORD)
    lines = (tmp_path / "log").read_text().splitlines()
    assert list(map(json.loads, lines)) == [{"time": "now", "features": {"a": None}}] * 2


def test_a_full_disk_is_told_once_and_the_next_line_is_whole(tmp_path, monkeypatch, caplog):
    log, write = Journal(str(tmp_path / "log"), ["time"]), os.write

    def full(file, line):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(journal.os, "write", lambda file, line: write(file, line[:5]))
    assert not log.write(RECORD)
    monkeypatch.setattr(journal.os, "write", full)
    assert not log.write(RECORD)
    monkeypatch.setattr(journal.os, "write", write)
    assert log.write(RECORD)
    assert (tmp_path / "log").read_text() == '{"tim\n{"time":"now"}\n'
    assert len(caplog.records) == 1


def test_a_log_that_cannot_be_opened_is_an_oserror(tmp_path):
    with pytest.raises(OSError, match="missing"):
        Journal(str(tmp_path / "missing" / "log"), ["time"])
