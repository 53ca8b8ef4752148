"""The cluster, a real scheduler with its workers: the same bytes, or one sentence and the old ones.

The workers run in a folder of their own, as those of another machine would.
"""

import contextlib
import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import pytest

from .. import examples, features, model, params, tables, train, tune
from ..stage import StageError
from .conftest import PACKAGE
from .test_tune import by_command

pytest.importorskip("distributed", reason="uv sync --group cluster")

COMPUTE_PARTITION, ATTEMPT = features.compute_partition, tune.attempt


class Processes:
    """A scheduler and workers that a test starts, kills and leaves to be ended."""

    def __init__(self, folder):
        self.folder, self.file, self.stack = folder, folder / "scheduler.json", []

    def start(self, kind, *options, **variables):
        command = [sys.executable, "-m", "distributed.cli.dask_" + kind, *options]
        with (self.folder / f"{kind}.log").open("a") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, env=os.environ | variables, stdout=log, stderr=log
            )
        self.stack.append(process)
        return process

    def scheduler(self):
        options = ("--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0")
        process = self.start("scheduler", *options, "--scheduler-file", str(self.file))
        wait_for(self.file.exists)
        return process

    def workers(self, number=1, *options, **variables):
        options = ("--nthreads", "1", "--nworkers", str(number), *options)
        where = ("--host", "127.0.0.1", "--scheduler-file", str(self.file))
        return self.start("worker", *where, *options, **variables)

    @property
    def address(self):
        return json.loads(self.file.read_text())["address"]

    def end(self):
        for process in reversed(self.stack):
            process.terminate()
        for process in self.stack:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


@contextlib.contextmanager
def processes(folder):
    made = Processes(folder)
    try:
        yield made
    finally:
        made.end()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The address of a scheduler with two workers, for those who do them no harm."""
    with processes(tmp_path_factory.mktemp("cluster")) as made:
        made.scheduler()
        made.workers(2)
        yield made.address


@pytest.fixture
def fragile(tmp_path_factory):
    """A scheduler, without workers yet, to be killed."""
    with processes(tmp_path_factory.mktemp("fragile")) as made:
        made.process = made.scheduler()
        yield made


def on(address="", partitions=3, workers=1):
    """The parameters of the project, changed for a cluster."""
    loaded = params.load()
    changed = {"kind": "dask", "address": address, "workers": workers, "threads": 1}
    engine = loaded.engine.model_copy(update=changed)
    split = params.Features(partitions=partitions)
    return loaded.model_copy(update={"engine": engine, "features": split})


def compute(parameters):
    features.compute(parameters, tables.RAW, tables.OFFLINE, features.ONLINE)


def outputs():
    return {path.name: path.read_bytes() for path in features.ONLINE.parent.iterdir()}


@contextlib.contextmanager
def unchanged(says):
    """The block ends with one sentence and leaves the outputs as they were."""
    before = outputs()
    with pytest.raises(StageError, match=says) as caught:
        yield
    assert "\n" not in str(caught.value)
    assert outputs() == before


def at_the_gate(parameters, raw, *rest):
    """Work on a partition as the stage does, but say so and wait for the gate first."""
    (raw / f"at-work-{os.getpid()}").touch()
    wait_for((raw / "gate").exists)
    return COMPUTE_PARTITION(parameters, raw, *rest)


def hungry(parameters, raw, *rest):
    """Take more memory than the worker may have."""
    taken = [b"x" * 20_000_000 for _ in range(40)]
    wait_for(lambda: not taken)


@pytest.fixture
def gate(monkeypatch, copy):
    """Let every partition wait at the gate."""
    monkeypatch.setattr(features, "compute_partition", at_the_gate)
    return tables.RAW / "gate"


def in_background(parameters):
    """Start the stage; the thread, and a list that will hold its error."""
    errors = []

    def work():
        try:
            compute(parameters)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, errors


def at_work():
    return [int(path.name.rsplit("-", 1)[1]) for path in tables.RAW.glob("at-work-*")]


@pytest.mark.parametrize("partitions", [1, 2, 7])
def test_neither_the_cluster_nor_the_partitions_change_a_byte(copy, cluster, partitions):
    before = outputs()
    features.ONLINE.unlink()
    compute(on(cluster, partitions))
    assert outputs() == before


def test_a_cluster_that_is_started_here_does_not_change_a_byte(copy):
    before = outputs()
    features.ONLINE.unlink()
    compute(on(workers=3))
    assert outputs() == before


def test_the_address_of_the_environment_wins(copy, cluster, monkeypatch):
    before = outputs()
    monkeypatch.setenv("ENGINE_ADDRESS", cluster)
    compute(on("tcp://127.0.0.1:1"))
    assert outputs() == before


def test_a_worker_that_is_killed_in_the_middle_changes_nothing(gate, fragile):
    before = outputs()
    fragile.workers(2)
    thread, errors = in_background(on(fragile.address))
    wait_for(at_work)
    os.kill(at_work()[0], signal.SIGKILL)
    gate.touch()
    thread.join(120)
    assert errors == []
    assert outputs() == before


def test_a_scheduler_that_is_killed_in_the_middle_is_told(gate, fragile):
    fragile.workers(1)
    with unchanged("connection to the scheduler was lost"):
        thread, errors = in_background(on(fragile.address))
        wait_for(at_work)
        fragile.process.kill()
        thread.join(120)
        raise errors[0]


def test_workers_that_run_out_of_memory_are_told(copy, fragile, monkeypatch):
    monkeypatch.setattr(features, "compute_partition", hungry)
    fragile.workers(1, "--memory-limit", "500MB")
    with unchanged("most likely out of memory: raise features.partitions"):
        compute(on(fragile.address, partitions=1))


def test_a_memory_limit_that_is_too_low_is_told(copy, cluster):
    parameters = on(cluster, partitions=1)
    engine = parameters.engine.model_copy(update={"memory_limit": "1MB"})
    with unchanged("Out of Memory"):
        try:
            compute(parameters.model_copy(update={"engine": engine}))
        except features.duckdb.Error as error:  # stage.run says the same in one line
            raise StageError(" ".join(str(error).split())) from None


def test_a_scheduler_without_workers_is_told(copy, fragile, monkeypatch):
    monkeypatch.setattr(f"{PACKAGE}.cluster.IDLE_SECONDS", 2)
    with unchanged("no worker that works for 2 seconds"):
        compute(on(fragile.address))


@pytest.mark.parametrize("answering", [False, True])
def test_an_address_without_a_scheduler_is_told(copy, monkeypatch, answering):
    monkeypatch.setattr(f"{PACKAGE}.cluster.CONNECT_SECONDS", 2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1] if answering else 1}"
        with unchanged(f"no Dask scheduler answers at {address}"):
            compute(on(address))


def test_a_worker_with_other_code_is_refused(copy, fragile, tmp_path):
    package = Path(features.__file__).parent
    other = shutil.copytree(package, tmp_path / "other" / package.name)
    with (other / "features.sql").open("a") as file:
        file.write("-- one line more\n")
    fragile.workers(1, PYTHONPATH=str(other.parent))
    with unchanged(r"worker on .* has code \w+, this project has code \w+: restart the workers"):
        compute(on(fragile.address))


@pytest.mark.parametrize("work", [compute, lambda parameters: fit(parameters.engine.address)])
@pytest.mark.parametrize("library", ["duckdb", "xgboost-cpu"])
def test_a_worker_with_another_library_is_refused(copy, fragile, tmp_path, library, work):
    about = tmp_path / f"{library.replace('-', '_')}-0.0.1.dist-info" / "METADATA"
    about.parent.mkdir()
    about.write_text(f"Metadata-Version: 2.1\nName: {library}\nVersion: 0.0.1\n")
    fragile.workers(2, PYTHONPATH=str(tmp_path))
    with unchanged(rf"worker on .* has {library} 0\.0\.1, this project has {library} [2-9]"):
        work(on(fragile.address))


def test_a_broken_table_is_told_in_the_worker_s_words(copy, cluster):
    path = tables.RAW / "events.parquet"
    parameters, whole = on(cluster), path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + bytes(1000) + whole[len(whole) // 2 + 1000 :])
    with unchanged("."):
        try:
            compute(parameters)
        except features.duckdb.Error as error:
            raise StageError(" ".join(str(error).split())) from None


def fit(address, **changes):
    parameters = on(address, workers=2)
    section = parameters.train.model_copy(update=changes)
    training = examples.read(parameters.engine)
    return train.fit(parameters.model_copy(update={"train": section}), training)


def test_a_model_is_fitted_on_the_workers_and_served_as_any(copy, cluster):
    booster = fit(cluster)
    assert booster.num_boosted_rounds() == 20
    inputs = examples.read(params.load().engine).inputs
    train.check_parity(booster, model.Model(train.export(booster)), inputs, 1e-4)


def test_a_worker_that_is_killed_while_the_model_is_fitted_is_told(copy, fragile):
    fragile.workers(1, "--no-nanny")
    victim = fragile.workers(1, "--no-nanny")
    killing = threading.Timer(20, victim.kill)
    killing.start()
    with pytest.raises(StageError, match=r"lost|died again"):
        fit(fragile.address, rounds=1_000_000)
    assert victim.wait(30)


def test_fewer_workers_than_asked_are_told(copy, fragile, monkeypatch):
    monkeypatch.setattr(f"{PACKAGE}.cluster.IDLE_SECONDS", 2)
    with pytest.raises(StageError, match=r"fewer than engine\.workers = 2 workers for 2 seconds"):
        fit(fragile.address)


def signed(parameters, offline, chosen):
    """A trial, that leaves the number of its process beside the table."""
    (offline.parent / f"trial-{os.getpid()}-{chosen['depth']}").touch()
    return ATTEMPT(parameters, offline, chosen)


def test_trials_are_spread_and_are_those_of_this_process(copy, monkeypatch):
    parameters, folder = on(workers=2), tables.OFFLINE.parent
    monkeypatch.setattr(tune, "attempt", signed)
    choices: list[tune.Choice] = [{"depth": depth} for depth in (1, 2, 3, 4)]
    spread = tune.run(parameters, choices)
    workers = {int(path.name.split("-")[1]) for path in folder.glob("trial-*")}
    assert len(workers - {os.getpid()}) == 2
    here = parameters.engine.model_copy(update={"kind": "local"})
    assert tune.run(parameters.model_copy(update={"engine": here}), choices) == spread


def test_dvc_gets_the_same_experiments_from_the_cluster(copy):
    assert by_command(copy, kind="dask", workers=2) == by_command(copy, kind="local")


def test_a_terminal_shows_the_dashboard_and_how_far_it_is(copy, cluster):
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 120))
    os.set_blocking(leader, False)
    path = copy / "params.yaml"
    path.write_text(path.read_text().replace("kind: local", "kind: dask"))
    command = [sys.executable, "-m", f"{PACKAGE}.features"]
    subprocess.run(
        command, stderr=follower, check=True, env=os.environ | {"ENGINE_ADDRESS": cluster}
    )
    shown = os.read(leader, 100_000).decode()
    assert "Dask's dashboard: http://127.0.0.1:" in shown
    assert "features: 100%" in shown
    os.close(follower)
    os.close(leader)


def test_in_a_pipe_nothing_is_said(copy, cluster):
    path = copy / "params.yaml"
    path.write_text(path.read_text().replace("kind: local", "kind: dask"))
    command = [sys.executable, "-m", f"{PACKAGE}.features"]
    environment = os.environ | {"ENGINE_ADDRESS": cluster}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    environment["ENGINE_ADDRESS"] = "tcp://127.0.0.1:1"
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("ERROR: no Dask scheduler answers")
