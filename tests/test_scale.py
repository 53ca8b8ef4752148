"""Beyond one machine: what is chosen comes by one command and works; others pay nothing for it."""

import contextlib
import json
import os
import re
import subprocess
import time

import pytest
import storages
from conftest import PYTHON, copy

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("scale")]
TESTS = "src/promotion_ranker/tests/"
# a machine that does not have the folder: it is hidden from the process and its children
ELSEWHERE = ("unshare", "--mount", "--map-root-user", "sh", "-c")
HIDING = 'mount -t tmpfs none "$0" && exec "$@"'


@pytest.fixture(scope="module")
def scaled(living, user, tmp_path_factory):
    """A copy of the default project with the libraries of the cluster and of Redis."""
    project = copy(living, tmp_path_factory.mktemp("scaled") / "promotion_ranker")
    user("uv", "add", "--quiet", "--group", "serve", "redis", cwd=project)
    user("uv", "add", "--quiet", "--group", "cluster", "gcsfs", "s3fs", cwd=project)
    user("uv", "sync", "--quiet", "--group", "cluster", cwd=project, UV_COMPILE_BYTECODE=1)
    return project


def choose(project, old, new):
    path = project / "params.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_what_is_not_chosen_is_neither_installed_nor_imported(living, user):
    code = (
        "import importlib.util, sys\n"
        "from promotion_ranker import collect, evaluate, features, refresh, serve, train\n"
        "for name in ('dask', 'distributed', 'redis', 'pyarrow', 'bokeh'):\n"
        "    assert not importlib.util.find_spec(name), name\n"
    )
    user(*PYTHON, "-c", code, cwd=living)


def test_what_is_not_chosen_is_not_imported_where_it_is_installed(scaled, user):
    code = (
        "import sys\n"
        "from promotion_ranker import collect, evaluate, features, refresh, serve, train\n"
        "assert not {'dask', 'distributed', 'redis'} & set(sys.modules)\n"
    )
    user(*PYTHON, "-c", code, cwd=scaled)


def test_what_is_chosen_and_missing_is_told_with_its_command(living, user, tmp_path):
    project = copy(living, tmp_path / "unscaled")
    choose(project, "kind: local", "kind: dask")
    chosen = {"FEATURES_STORE": "redis://127.0.0.1:1"}
    for module, command, variables in (
        ("features", "uv sync --group cluster", {}),
        ("publish", "uv add --group serve redis", chosen),
        ("selfcheck", "uv add --group serve redis", chosen),
    ):
        arguments = (*PYTHON, "-m", f"promotion_ranker.{module}")
        refused = user(*arguments, cwd=project, check=False, **variables)
        assert refused.returncode == 1
        assert refused.stderr.count("\n") == 1
        assert refused.stderr.startswith("ERROR: ")
        assert command in refused.stderr
    choose(project, 'storage: ""', "storage: s3://my-bucket")
    refused = user(*PYTHON, "-m", "promotion_ranker.features", cwd=project, check=False)
    assert refused.stderr.startswith("ERROR: engine.storage s3://my-bucket needs a library")
    assert refused.stderr.endswith("uv sync --group cluster, or uv add --group cluster s3fs\n")


def test_types_are_right_with_the_libraries_at_hand(scaled, user):
    user(*PYTHON[:-1], "ty", "check", cwd=scaled)


@pytest.mark.parametrize("name", ["test_cluster.py", "test_redis_store.py"])
def test_a_real_server_with_its_clients(scaled, user, needs, name):
    """The project's own tests, none of them skipped."""
    needs("redis-server")
    output = user(*PYTHON, "-m", "pytest", "-q", f"{TESTS}{name}", cwd=scaled).stdout
    assert "passed" in output
    assert "skipped" not in output


QUALITY = """
from promotion_ranker import examples, params, train
if __name__ == "__main__":
    parameters = params.load()
    training, holdout = examples.read(parameters.engine).split(parameters.train.holdout)
    booster, truth = train.fit(parameters, training), holdout.target
    error = ((truth - booster.inplace_predict(holdout.inputs)) ** 2).sum()
    print(1 - error / ((truth - truth.mean()) ** 2).sum())
"""


def test_a_model_of_the_cluster_is_as_good_as_one_of_this_process(scaled, user, tmp_path):
    """With the parameters as they are rendered."""
    project, script = copy(scaled, tmp_path / "project"), tmp_path / "quality.py"
    script.write_text(QUALITY)
    command = (scaled / ".venv/bin/python", script)
    here = float(user(*command, cwd=project).stdout.split()[-1])
    choose(project, "kind: local", "kind: dask")
    there = float(user(*command, cwd=project).stdout.split()[-1])
    assert here > 0.1
    assert abs(there - here) < 0.005


def test_the_worker_s_image_holds_all_that_a_worker_imports(scaled, user, tmp_path):
    stage = (scaled / "Dockerfile").read_text().partition("FROM tools AS worker\n")[2]
    (install,) = re.findall(r"uv sync [^\n\\]+", stage.partition("\nFROM ")[0])
    made = {"UV_PROJECT_ENVIRONMENT": tmp_path / "made", "UV_LINK_MODE": "hardlink"}
    user(*install.split(), "--quiet", cwd=scaled, **made)
    imports = "from promotion_ranker import cluster, exchange, features, tune; import s3fs, gcsfs"
    alone = {"PYTHONPATH": scaled / "src"}
    user(tmp_path / "made/bin/python", "-c", imports, cwd=tmp_path, **alone)
    for role in ("scheduler", "worker"):
        user(tmp_path / "made/bin/dask", role, "--help", cwd=tmp_path, **alone)


@contextlib.contextmanager
def machines(python, hidden, folder, variables):
    """The address of a scheduler with two workers from which a folder is hidden."""
    folder.mkdir()
    cluster = (python, "-m", "distributed.cli.dask_{}", "--host", "127.0.0.1", "--scheduler-file")
    cluster = [*map(str, cluster), str(folder / "scheduler.json")]
    workers = [*ELSEWHERE, HIDING, str(hidden), *cluster, "--nworkers=2", "--nthreads=1"]
    commands = [
        [word.format("scheduler") for word in [*cluster, "--port=0", "--no-dashboard"]],
        [word.format("worker") for word in [*workers, "--no-dashboard"]],
    ]
    with (folder / "log").open("wb") as log, contextlib.ExitStack() as stack:
        for command in commands:
            process = subprocess.Popen(
                command, cwd=folder, env=os.environ | variables, stdout=log, stderr=log
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
        for _ in range(2400):
            if (folder / "log").read_text().count("Registered to: ") >= 2:
                break
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.1)
        yield json.loads((folder / "scheduler.json").read_text())["address"]


@pytest.fixture(params=["s3", "gcs"])
def place(request, tmp_path, needs):
    """A storage on a real server."""
    with storages.place(request.param, tmp_path / "server", needs) as found:
        yield found


@pytest.fixture
def afar(scaled, user, tmp_path, needs):
    """A project whose workers are to use a storage: how to run a stage, and its outputs."""
    needs("unshare")
    project = copy(scaled, tmp_path / "project")
    choose(project, "kind: local", "kind: dask")
    choose(project, "partitions: 1", "partitions: 3")
    choose(project, "trials: 16", "trials: 2")
    choose(project, "queued: 3", "queued: 0")

    def run(stage, address, place, **variables):
        given = place.variables | {"ENGINE_ADDRESS": address} | variables
        command = (scaled / ".venv/bin/python", "-m", f"promotion_ranker.{stage}")
        return user(*command, cwd=project, check=False, **given)

    def outputs():
        return {path.name: path.read_bytes() for path in (project / "data/features").iterdir()}

    return project, run, outputs


def test_workers_that_see_only_the_storage_change_no_byte(scaled, afar, place, tmp_path):
    project, run, outputs = afar
    before = outputs()
    python, kept = scaled / ".venv/bin/python", tmp_path / "server"

    def stored():
        found = (path for path in kept.glob("**/team/shared/**/*") if path.is_file())
        return {str(path): path.stat().st_mtime_ns for path in found}

    with machines(python, project, tmp_path / "machines", place.variables) as address:
        refused = run("features", address, place)
        assert "data/raw/players.parquet is missing" in refused.stderr  # it is hidden indeed
        choose(project, 'storage: ""', f"storage: {place.url('shared')}")
        times = []
        for _ in range(2):
            (project / "data/features/online.lmdb").unlink()
            done = run("features", address, place)
            assert (done.returncode, done.stderr) == (0, "")
            assert outputs() == before
            times.append(stored())
        assert times[0] == times[1]  # the inputs are not sent again, and of the parts none is left
        assert len(times[0]) == 4
        tuned = run("tune", address, place)
        assert (tuned.returncode, tuned.stderr) == (0, "")
    choose(project, "kind: dask", "kind: local")
    assert run("tune", address, place).stdout == tuned.stdout


def test_a_storage_that_fails_is_told_and_the_outputs_stay(scaled, afar, place, tmp_path):
    project, run, outputs = afar
    before, python = outputs(), scaled / ".venv/bin/python"
    choose(project, 'storage: ""', f"storage: {place.absent}")

    def refused(says, **variables):
        done = run("features", address, place, **variables)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert done.stderr.startswith("ERROR: ")
        assert says in done.stderr
        assert outputs() == before

    with machines(python, project, tmp_path / "strangers", place.wrong) as address:
        refused(f"engine.storage {place.absent} does not take players.parquet")
        choose(project, place.absent, place.url("shared"))
        refused(
            f"engine.storage {place.url('shared')} does not take players.parquet", **place.wrong
        )
        refused("a storage refuses: ")  # to the workers
        place.wire.close()
        refused(f"engine.storage {place.url('shared')} does not take players.parquet")
