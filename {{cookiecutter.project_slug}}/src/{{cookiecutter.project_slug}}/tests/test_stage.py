"""How a stage starts, replaces its output, shows progress and fails: as a process, as DVC runs it."""

import os
import pty
import subprocess
import sys
import termios

import pytest

from ..stage import replacing

PACKAGE = __package__.rsplit(".", 1)[0]


def run(stage, **kwargs):
    return subprocess.run(
        [sys.executable, "-m", f"{PACKAGE}.{stage}"], capture_output=True, text=True, **kwargs
    )


def test_a_mistake_is_one_line_and_exit_code_1(project):
    path = project / "params.yaml"
    path.write_text(path.read_text().replace("rounds", "rouds"))
    result = run("collect")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("ERROR: params.yaml: train.r")


def test_progress_is_silent_in_a_pipe_and_visible_on_a_terminal(project):
    assert run("collect").stderr == ""
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 80))
    os.set_blocking(leader, False)
    command = [sys.executable, "-m", f"{PACKAGE}.collect"]
    subprocess.run(command, stderr=follower, check=True)
    assert b"simulate" in os.read(leader, 100_000)
    os.close(follower)
    os.close(leader)


def test_a_full_disk_is_told_and_the_next_run_works(project):
    """A limit on the size of files stands for a full disk: the write fails in the same place."""
    limited = f"import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (20_000, 20_000)); import runpy; "
    limited += f"runpy.run_module('{PACKAGE}.collect', run_name='__main__')"
    result = subprocess.run([sys.executable, "-c", limited], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("ERROR: ")
    assert "Traceback" not in result.stderr
    assert not (project / "data" / "raw").exists()
    assert run("collect").returncode == 0


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_an_output_is_replaced_whole_or_not_at_all(tmp_path, kind):
    path = tmp_path / "out"

    def make(new, text):
        if kind == "folder":
            new.mkdir()
        (new / "part" if kind == "folder" else new).write_text(text)

    def content():
        return (path / "part" if kind == "folder" else path).read_text()

    with replacing(path) as new:
        make(new, "first")
    with pytest.raises(KeyError), replacing(path) as new:
        make(new, "broken")
        raise KeyError
    assert content() == "first"
    with replacing(path) as new:
        make(new, "second")
    assert content() == "second"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
