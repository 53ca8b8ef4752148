"""`delivery check` and `delivery reproduce` on a small project: what each fault is told as."""

import contextlib
import importlib.util
import json
import shutil
import sys

import pytest
import yaml

STAGES = """\
stages:
  prepare:
    cmd: mkdir -p data && cp source.csv data/rows.csv
    deps: [source.csv]
    outs: [data]
  train:
    cmd: cat data/rows.csv params.yaml > model.bin
    deps: [data]
    params: [depth]
    outs: [model.bin]
  evaluate:
    cmd: mkdir -p reports && cksum model.bin > reports/metrics.txt
    deps: [model.bin]
    outs:
      - reports/metrics.txt:
          cache: false
"""
STORAGE = "[core]\n    remote = storage\n['remote \"storage\"']\n    url = ../../storage\n"
CELL = {"cell_type": "code", "id": "a", "metadata": {}, "source": ["1 + 1"]}
EMPTY = CELL | {"execution_count": None, "outputs": []}
RESULT = {"output_type": "execute_result", "execution_count": 3, "metadata": {}}
FULL = CELL | {"execution_count": 3, "outputs": [RESULT | {"data": {"text/plain": "2"}}]}


def write_notebook(path, cell):
    path.parent.mkdir(exist_ok=True)
    document = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


@pytest.fixture(scope="session")
def delivery(bake):
    """The rendered package, under a name of its own: DVC takes longer to import than to answer."""
    folder = bake() / "delivery"
    spec = importlib.util.spec_from_file_location("rendered", folder / "__init__.py")
    sys.modules["rendered"] = package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    return importlib.import_module("rendered.__main__").main


@pytest.fixture
def check(delivery, monkeypatch, capsys):
    """Run `check` in a folder: its lines."""

    def check(folder, variables):
        with monkeypatch.context() as patch:
            patch.chdir(folder)
            patch.delenv("GITHUB_ACTIONS", raising=False)
            for name, value in variables.items():
                patch.setenv(name, str(value))
            capsys.readouterr()
            code = delivery(["check"])
        printed, complaints = capsys.readouterr()
        assert complaints == ""
        lines = printed.splitlines()
        assert code == (1 if [line for line in lines if "nothing was rep" not in line] else 0)
        return lines

    return check


class Toy:
    """A small project, and what one does in it."""

    def __init__(self, folder, check, run, git, bake):
        self.folder, self._check, self._run, self._git = folder, check, run, git
        self._code = bake()

    def check(self, **variables):
        """The lines of `check`."""
        return self._check(self.folder, variables)

    def reproduce(self, **variables):
        """The exit code and the output of `reproduce`."""
        command = (sys.executable, "-m", "delivery", "reproduce")
        done = self._run(*command, cwd=self.folder, check=False, PYTHONPATH=self._code, **variables)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    def another(self, folder):
        """A clone on another machine."""
        self._git(folder.parent, "clone", "--quiet", self.folder, folder)
        return Toy(folder, self._check, self._run, self._git, lambda: self._code)

    def git(self, *arguments):
        return self._git(self.folder, *arguments)

    def change(self, name, old, new):
        path = self.folder / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    def save(self):
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "Change")


@pytest.fixture(scope="session")
def finished(scratch, run, git):
    """A folder with the project, reproduced, committed and pushed, and with its storage."""
    root = scratch / "toys"
    folder = root / "toy"
    (folder / ".dvc").mkdir(parents=True)
    (root / "storage").mkdir()
    (folder / "dvc.yaml").write_text(STAGES)
    (folder / "params.yaml").write_text("depth: 3\n")
    (folder / "source.csv").write_text("a,b\n1,2\n")
    (folder / ".gitignore").write_text("/data\n/model.bin\n")
    (folder / ".dvc" / "config").write_text(STORAGE)
    (folder / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
    write_notebook(folder / "notebooks" / "look.ipynb", EMPTY)
    git(folder, "init", "--quiet", "--initial-branch=main")
    tool = (sys.executable, "-m", "dvc")
    run(*tool, "repro", "--quiet", cwd=folder)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Reproduce")
    run(*tool, "push", "--quiet", "--run-cache", cwd=folder)
    return root


@pytest.fixture
def toy(finished, check, run, git, bake, tmp_path):
    """A clone of the project on a machine that sees the storage, and has no data."""
    shutil.copytree(finished / "storage", tmp_path / "storage")
    git(tmp_path, "clone", "--quiet", finished / "toy", tmp_path / "toy")
    return Toy(tmp_path / "toy", check, run, git, bake)


@pytest.fixture
def fork(toy, tmp_path):
    """The variables of a pull request from somebody else's repository."""
    head = {"sha": toy.git("rev-parse", "HEAD"), "ref": "main", "repo": {"full_name": "them/toy"}}
    event = {"pull_request": {"number": 7, "head": head, "base": head}}
    (tmp_path / "event.json").write_text(json.dumps(event))
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_EVENT_NAME": "pull_request",
        "GITHUB_EVENT_PATH": tmp_path / "event.json",
        "GITHUB_REPOSITORY": "us/toy",
        "GITHUB_REF_NAME": "7/merge",
        "GITHUB_REF_TYPE": "branch",
        "GITHUB_RUN_ID": "1",
        "GITHUB_SERVER_URL": "https://forge.example",
        "GITHUB_SHA": head["sha"],
    }


def stored(toy, name):
    """Where the storage has an output."""
    lock = yaml.safe_load((toy.folder / "dvc.lock").read_text())
    outs = {out["path"]: out["md5"] for s in lock["stages"].values() for out in s["outs"]}
    return toy.folder.parent / "storage/files/md5" / outs[name][:2] / outs[name][2:]


def test_a_good_commit_is_silent_without_data(toy):
    assert toy.check() == []
    assert not (toy.folder / "model.bin").exists()


def test_the_first_commit_is_no_fault_but_is_told(toy):
    (toy.folder / "dvc.lock").unlink()
    (line,) = toy.check()
    assert line.startswith("nothing was reproduced yet: `make reproduce`")


CONFLICT = "<<<<<<< ours\n1,2\n=======\n1,3\n>>>>>>> theirs"
FAULTS = {
    "stale parameter": ("params.yaml", "depth: 3", "depth: 4", "not of this commit (train)"),
    "stale source": ("source.csv", "1,2", "1,3", "not of this commit (prepare)"),
    "stale command": ("dvc.yaml", "cksum model", "wc model", "not of this commit (evaluate)"),
    "missing parameter": ("params.yaml", "depth", "width", "not of this commit (train)"),
    "new stage": ("dvc.yaml", "stages:", "stages:\n  more:\n    cmd: ls", "commit (more)"),
    "sub-path": ("dvc.yaml", "deps: [data]", "deps: [data/rows.csv]", "the whole output, data"),
    "folder around": ("dvc.yaml", "deps: [data]", "deps: [reports]", "name the output in it, "),
    "unknown file": ("dvc.yaml", "[source.csv]", "[notes.txt]", "neither git nor DVC holds"),
    "broken stages": ("dvc.yaml", "stages:", "stages: [", "dvc.yaml"),
    "conflict": ("source.csv", "1,2", CONFLICT, "source.csv holds a conflict"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_pipeline_is_named(toy, fault):
    name, old, new, said = FAULTS[fault]
    toy.change(name, old, new)
    toy.save()
    assert said in "\n".join(toy.check())


def test_a_lock_of_two_runs_is_named(toy):
    """Half of a merge of dvc.lock: what train wrote is not what evaluate read."""
    lock = toy.folder / "dvc.lock"
    digest = "".join(stored(toy, "model.bin").parts[-2:])
    lock.write_text(lock.read_text().replace(digest, "f" * 32, 1))
    assert "not of this commit (evaluate)" in "\n".join(toy.check())


def test_what_was_not_pushed_is_named(toy):
    stored(toy, "model.bin").unlink()
    assert toy.check() == ["model.bin is not in the storage: `dvc push`"]


def test_a_fork_is_not_asked_for_the_storage(toy, fork):
    shutil.rmtree(toy.folder.parent / "storage/files")
    assert len(toy.check()) == 2
    assert toy.check(**fork) == []


def test_a_storage_on_another_machine_is_not_asked(toy):
    shutil.rmtree(toy.folder.parent / "storage")
    assert toy.check() == []


def test_a_storage_that_cannot_be_read_is_one_line(toy):
    toy.change(".dvc/config", "../../storage", "s3://bucket/folder")
    (line,) = toy.check()
    assert line.startswith("the storage cannot be read, see `make doctor`: ")


def test_outputs_of_a_notebook_are_looked_for_in_git_and_not_on_disk(toy):
    path = toy.folder / "notebooks/look.ipynb"
    write_notebook(path, FULL)
    assert toy.check() == []
    toy.save()
    write_notebook(path, EMPTY)
    (line,) = toy.check()
    assert line.startswith("notebooks/look.ipynb holds outputs: ")


def test_a_notebook_that_was_committed_past_the_filter_is_named(toy):
    (toy.folder / ".gitattributes").write_text("*.ipynb filter=nbstripout\n")
    toy.save()
    toy.git("config", "filter.nbstripout.clean", "tr -d ' '")
    (line,) = toy.check()
    assert line.startswith("notebooks/look.ipynb was committed past git's filter: ")
    toy.git("add", "--renormalize", "notebooks/look.ipynb")
    toy.git("commit", "--quiet", "--message", "As the filter writes it")
    assert toy.check() == []


def test_a_broken_notebook_is_named(toy):
    (toy.folder / "notebooks/look.ipynb").write_text("{")
    toy.save()
    (line,) = toy.check()
    assert line.startswith("notebooks/look.ipynb cannot be read as a notebook: ")


def test_a_conflict_in_a_cell_of_a_notebook_is_named(toy):
    source = [f"{line}\n" for line in CONFLICT.splitlines()]
    write_notebook(toy.folder / "notebooks/look.ipynb", EMPTY | {"source": source})
    toy.save()
    (line,) = toy.check()
    assert line.startswith("notebooks/look.ipynb holds a conflict: ")


def test_the_rest_of_a_patch_is_named(toy):
    (toy.folder / "params.yaml.rej").write_text("@@ -1 +1 @@\n")
    toy.save()
    assert [line.split()[0] for line in toy.check()] == ["params.yaml.rej"]


def test_an_unmerged_path_is_named(toy):
    toy.git("checkout", "--quiet", "-b", "other")
    toy.change("source.csv", "1,2", "1,3")
    toy.save()
    toy.git("checkout", "--quiet", "main")
    toy.change("source.csv", "1,2", "1,4")
    toy.save()
    with contextlib.suppress(pytest.fail.Exception):
        toy.git("merge", "other")
    assert "source.csv holds a conflict: " in "\n".join(toy.check())


def test_a_project_as_rendered_is_without_findings(toy, bake, git, tmp_path):
    toy.folder = shutil.copytree(bake(), tmp_path / "fresh", symlinks=True)
    (toy.folder / "uv.lock").touch()
    toy.save()
    (line,) = toy.check()
    assert line.startswith("nothing was reproduced yet: ")


def test_reproduce_fetches_what_another_machine_made(toy):
    code, printed, _ = toy.reproduce()
    assert (code, "Running stage" in printed) == (0, False)
    assert (toy.folder / "model.bin").exists()
    assert (toy.folder / "data/rows.csv").exists()


def test_reproduce_makes_what_changed_and_stores_it_once(toy, tmp_path):
    toy.change("params.yaml", "depth: 3", "depth: 4")
    code, printed, _ = toy.reproduce()
    assert (code, printed.count("Running stage")) == (0, 2)
    assert stored(toy, "model.bin").exists()
    toy.save()
    another = toy.another(tmp_path / "another")
    another.git("checkout", "--quiet", "HEAD~1", "--", "dvc.lock")  # as it was before that run
    code, printed, _ = another.reproduce()
    assert (code, "Running stage 'train'" in printed) == (0, False)


def test_reproduce_makes_what_the_storage_lost(toy):
    stored(toy, "model.bin").unlink()
    code, _, _ = toy.reproduce()
    assert code == 0
    assert stored(toy, "model.bin").exists()


def test_reproduce_without_a_storage_makes_everything_and_says_so(toy):
    shutil.rmtree(toy.folder.parent / "storage")
    code, printed, _ = toy.reproduce()
    assert (code, printed.count("Running stage")) == (0, 2)
    assert printed.startswith("this machine shares no storage: ")
    assert not (toy.folder.parent / "storage").exists()
    shutil.rmtree(toy.folder / "data")
    code, printed, _ = toy.reproduce()
    assert (code, "Running stage" in printed) == (0, False), "it is in the cache"


def test_reproduce_of_a_fork_leaves_the_storage_alone(toy, fork):
    shutil.rmtree(toy.folder.parent / "storage/files")
    code, printed, _ = toy.reproduce(**fork)
    assert (code, printed.count("Running stage")) == (0, 2)
    assert not (toy.folder.parent / "storage/files").exists()


def test_a_stage_that_fails_fails_the_verb(toy):
    toy.change("dvc.yaml", "cksum model.bin", "false model.bin")
    code, _, complaints = toy.reproduce()
    assert code == 1
    assert complaints.splitlines()[-1].startswith("ERROR: failed to reproduce 'evaluate'")
