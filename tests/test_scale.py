"""Beyond one machine: what is chosen comes by one command and works; others pay nothing for it."""

import pytest
from conftest import PYTHON, copy

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("scale")]
TESTS = "src/promotion_ranker/tests/"


@pytest.fixture(scope="module")
def scaled(living, user, tmp_path_factory):
    """A copy of the default project with the libraries of the cluster and of Redis."""
    project = copy(living, tmp_path_factory.mktemp("scaled") / "promotion_ranker")
    user("uv", "add", "--quiet", "--group", "serve", "redis", cwd=project)
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
    """All rows in every round: which ones are drawn moves a fit in one process further."""
    project, script = copy(scaled, tmp_path / "project"), tmp_path / "quality.py"
    script.write_text(QUALITY)
    choose(project, "subsample: 0.7", "subsample: 1.0")
    command = (scaled / ".venv/bin/python", script)
    here = float(user(*command, cwd=project).stdout.split()[-1])
    choose(project, "kind: local", "kind: dask")
    there = float(user(*command, cwd=project).stdout.split()[-1])
    assert here > 0.1
    assert abs(there - here) < 0.005
