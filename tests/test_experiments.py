"""Experiments: run with their own code, compared, adopted as a branch, told to a real MLflow."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager

import pytest
from conftest import DVC, TOOLS, copy

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("project")]
QUEUE = (*DVC, "exp", "run", "--quiet", "--queue")
FEW = "--set-param=train.rounds=6"
MLFLOW = "mlflow==3.17.2"
WAIT_SECONDS = 240


@pytest.fixture(scope="module")
def project(living, user, git, tmp_path_factory):
    """A project to experiment with; what a test leaves are experiments and branches."""
    project = copy(living, tmp_path_factory.mktemp("experiments") / "a project")
    storage = living.parent / "promotion_ranker-storage"
    shutil.copytree(storage, project.parent / storage.name)
    user("make", "setup", cwd=project)
    git(project, "config", "user.name", "Tester")
    git(project, "config", "user.email", "tester@example.com")
    return project


@pytest.fixture(scope="module")
def compared(project, user, git):
    """What `make experiments` says of a good experiment and of one that fails; and the commit."""
    assert "no experiments yet" in user("make", "experiments", cwd=project).stdout
    user(*QUEUE, "--name", "shallow", FEW, "--set-param=train.depth=2", cwd=project)
    user(*QUEUE, "--name", "absurd", "--set-param=train.depth=0", cwd=project)
    code = project / "src/promotion_ranker/train.py"
    before = code.read_text()
    code.write_text("raise SystemExit('not the code of the experiment')")
    done = user("make", "experiments", cwd=project, check=False)
    code.write_text(before)
    return done, git(project, "rev-parse", "HEAD")


def test_each_runs_with_its_own_code_and_one_that_fails_is_told(compared, project, git):
    done, _ = compared
    assert done.returncode
    assert "ERROR: absurd failed: `uv run dvc queue logs NAME` says why" in done.stderr
    head, here, shallow = done.stdout.splitlines()[-4:-1]
    assert head.split()[:3] == ["experiment", "train.rounds", "train.depth"]
    assert re.match(r"this commit +30 +5 +\d", here), here
    assert re.match(r"shallow +6 +2 +\d", shallow), shallow
    assert git(project, "status", "--porcelain") == ""


def test_the_page_draws_each_across_what_differs_and_needs_no_network(compared, project):
    page = (project / "reports/experiments.html").read_text()
    assert page.count('<polyline class="run"') == 2
    assert "<title>shallow; train.rounds 6; train.depth 2; policy.model " in page
    assert not re.search(r"(src|href)=|url\(|<script|@import", page)
    measured = json.loads((project / "reports/metrics.json").read_text())
    assert f"{measured['policy']['model']['value']:.3g} (" in page


def test_one_becomes_a_branch_that_is_complete_and_changes_two_lines(compared, project, user, git):
    _, commit = compared
    user("make", "adopt", "EXPERIMENT=shallow", "BRANCH=simpler", cwd=project)
    assert git(project, "rev-parse", "HEAD", "simpler^") == f"{commit}\n{commit}"
    assert "train.depth 2" in git(project, "log", "-1", "--format=%s", "simpler")
    lines = git(project, "diff", "main", "simpler", "--", "params.yaml").splitlines()
    changed = [line for line in lines if re.match(r"[+-] ", line)]
    assert changed == ["-  rounds: 30", "-  depth: 5", "+  rounds: 6", "+  depth: 2"]
    user("git", "checkout", "--quiet", "simpler", cwd=project)
    assert "Running stage" not in user(*DVC, "repro", cwd=project).stdout
    assert git(project, "status", "--porcelain") == ""
    user("git", "checkout", "--quiet", "main", cwd=project)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["EXPERIMENT="], "no experiment is named ''; there is shallow"),
        (["EXPERIMENT=deep"], "no experiment is named 'deep'; there is shallow"),
        (["EXPERIMENT=shallow", "BRANCH=main"], "a branch named 'main' already exists"),
        (["EXPERIMENT=shallow", "BRANCH=a b"], "'a b' is not a valid branch name"),
    ],
)
def test_what_cannot_be_adopted_is_told(compared, project, user, words, says):
    refused = user("make", "adopt", *words, cwd=project, check=False)
    assert refused.returncode
    assert says in refused.stderr
    assert "Traceback" not in refused.stderr


def test_mlflow_gets_the_curve_the_parameters_and_the_metrics(living, user, git, tmp_path):
    project = copy(living, tmp_path / "tracked")
    user("make", "setup", cwd=project)
    user("uv", "sync", "--frozen", "--quiet", "--group", "tracking", cwd=project)
    path = project / "params.yaml"
    path.write_text(path.read_text().replace("tracker: dvclive", "tracker: mlflow"))
    assert "Running stage" not in user(*DVC, "repro", cwd=project).stdout
    git(project, "commit", "--quiet", "--all", "--no-verify", "--message", "Track")
    with server(tmp_path, user) as url:
        run = (*DVC, "exp", "run", "--name", "few", FEW)
        user(*run, cwd=project, MLFLOW_TRACKING_URI=url)
        found = ask(url, "experiments/get-by-name?experiment_name=promotion_ranker")
        number = found["experiment"]["experiment_id"]
        (told,) = ask(url, "runs/search", experiment_ids=[number])["runs"]
        which = f"metric_key=holdout.rmse&run_id={told['info']['run_id']}"
        curve = ask(url, f"metrics/get-history?{which}")
    assert [point["step"] for point in curve["metrics"]] == list(range(6))
    parts = {k: {x["key"]: x["value"] for x in told["data"][k]} for k in ("metrics", "params")}
    judged = json.loads((project / "reports/metrics.json").read_text())
    assert parts["metrics"]["policy.model"] == judged["policy"]["model"]["value"]
    assert parts["metrics"]["policy.model.low"] == judged["policy"]["model"]["low"]
    assert parts["params"]["train.rounds"] == "6"
    assert (told["info"]["run_name"], told["info"]["status"]) == ("few", "FINISHED")
    lineage = json.loads((project / "models/lineage.json").read_text())
    assert {"key": "model", "value": lineage["files"]["model.onnx"]} in told["data"]["tags"]
    again = (*DVC, "repro", "--force", "--single-item", "evaluate")
    without = user(*again, cwd=project, MLFLOW_TRACKING_URI=url)  # its server is gone
    assert "WARNING: MLflow was not told of this model" in without.stderr
    assert "Traceback" not in without.stderr
    assert json.loads((project / "reports/metrics.json").read_text()) == judged
    untracked = git(project, "status", "--porcelain", "--untracked-files=all")
    assert "??" not in untracked


@contextmanager
def server(folder, user):
    """A real MLflow server on loopback; gives the address of its interface."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    user("uv", "tool", "run", "--from", MLFLOW, "mlflow", "--version", cwd=folder)  # installs it
    command = [TOOLS / "uv", "tool", "run", "--from", MLFLOW, "mlflow", "server", "--workers", "1"]
    command += ["--host", "127.0.0.1", "--port", port]
    command += ["--backend-store-uri", f"sqlite:///{folder}/runs.db"]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "mlflow.log").open("w") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | quiet,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < until and process.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
                break
            except OSError:
                time.sleep(0.5)
        else:
            pytest.fail((folder / "mlflow.log").read_text()[-2000:])
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def ask(url, verb, **body):
    """The answer of MLflow's interface."""
    request = urllib.request.Request(  # noqa: S310
        f"{url}/api/2.0/mlflow/{verb}",
        json.dumps(body).encode() if body else None,
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return json.load(answer)
