"""How a stage shows progress, fails and replaces its output: as a process, as DVC runs it."""

import os
import pty
import subprocess
import sys
import termios

import pytest

from ..stage import replacing
from .conftest import PACKAGE


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
    limited = (
        "import resource, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); "
        f"runpy.run_module('{PACKAGE}.collect', run_name='__main__')"
    )
    result = subprocess.run([sys.executable, "-c", limited], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("ERROR: ")
    assert "Traceback" not in result.stderr
    assert not (project / "data" / "raw").exists()
    assert run("collect").returncode == 0


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_an_output_is_replaced_whole_or_not_at_all(tmp_path, kind):
    path = tmp_path / "out"

    def make(text, fail=False):
        with replacing(path) as new:
            if kind == "folder":
                new.mkdir()
            (new / "part" if kind == "folder" else new).write_text(text)
            if fail:
                raise KeyError

    def content():
        return (path / "part" if kind == "folder" else path).read_text()

    make("first")
    with pytest.raises(KeyError):
        make("broken", fail=True)
    assert content() == "first"
    make("second")
    assert content() == "second"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
