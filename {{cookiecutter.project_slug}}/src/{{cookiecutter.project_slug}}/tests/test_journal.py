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
    log.add(RECORD)
    log.add(RECORD)
    assert log.flush() == 0
    assert log.flush() == 0
    lines = (tmp_path / "log").read_text().splitlines()
    assert list(map(json.loads, lines)) == [{"time": "now", "features": {"a": None}}] * 2


def test_a_full_disk_is_told_once_and_the_next_line_is_whole(tmp_path, monkeypatch, caplog):
    log, write = Journal(str(tmp_path / "log"), ["time"]), os.write

    def lost(lines):
        for _ in range(lines):
            log.add(RECORD)
        return log.flush()

    def full(file, lines):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(journal.os, "write", lambda file, lines: write(file, lines[:20]))
    assert lost(lines=3) == 2
    monkeypatch.setattr(journal.os, "write", full)
    assert lost(lines=2) == 2
    monkeypatch.setattr(journal.os, "write", write)
    assert lost(lines=1) == 0
    line = '{"time":"now"}\n'
    assert (tmp_path / "log").read_text() == line + '{"tim\n' + line
    assert len(caplog.records) == 1


def test_no_write_holds_so_much_that_a_shared_pipe_could_tear_a_line(tmp_path, monkeypatch):
    log, written = Journal(str(tmp_path / "log"), ["time"]), []
    monkeypatch.setattr(
        journal.os, "write", lambda file, lines: written.append(lines) or len(lines)
    )
    for size in (10, 1500, 1500, 1500, 9000, 10):
        log.add({"time": "x" * size})
    assert log.flush() == 0
    assert [lines.count(b"\n") for lines in written] == [3, 1, 1, 1]
    assert all(lines.endswith(b"\n") for lines in written)
    assert max(map(len, written[:2])) < journal.PIPE_BUF


def test_a_log_that_cannot_be_opened_is_an_oserror(tmp_path):
    with pytest.raises(OSError, match="missing"):
        Journal(str(tmp_path / "missing" / "log"), ["time"])
