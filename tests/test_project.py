"""The default project lives its whole life: made, checked, reproduced, stored, cloned, read."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from conftest import DVC, PYTHON, ROOT, copy
from test_render import HOSTILE, VARIATIONS

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("project")]
OUTPUTS = ("data/raw", "data/features", "models", "reports")


def digests(project):
    """Hash of every file that the pipeline made."""
    paths = (path for name in OUTPUTS for path in (project / name).rglob("*") if path.is_file())
    return {
        path.relative_to(project).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
        if path.name != ".gitkeep"
    }


def test_setup_can_be_repeated_and_leaves_the_tree_clean(living, user, git):
    user("make", "setup", cwd=living)
    assert git(living, "status", "--porcelain") == ""
    assert git(living, "config", "--get-all", "include.path") == "../.gitconfig"
    hooks = {path.name for path in (living / ".git/hooks").iterdir() if path.suffix != ".sample"}
    assert hooks == {"pre-commit", "pre-push", "post-checkout"}


def test_a_second_reproduction_runs_nothing(living, user):
    assert "Running stage" not in user("make", "reproduce", cwd=living).stdout


def test_only_what_a_change_touches_runs(living, user, tmp_path):
    project = copy(living, tmp_path / "changed")
    path = project / "params.yaml"
    path.write_text(path.read_text().replace("resamples: 500", "resamples: 50"))
    output = user(*DVC, "repro", cwd=project).stdout
    assert re.findall(r"Running stage '(\w+)'", output) == ["evaluate", "report"]


def test_what_git_and_dvc_hold_is_the_whole_project(living, user, git, tmp_path):
    """A colleague clones, sets up and pulls: the same bytes, nothing to run, checks pass."""
    git(tmp_path, "clone", "--quiet", living, tmp_path / "promotion_ranker")
    clone = tmp_path / "promotion_ranker"
    storage = living.parent / "promotion_ranker-storage"
    (tmp_path / storage.name).symlink_to(storage)
    user("make", "setup", cwd=clone)
    user(*DVC, "pull", "--quiet", cwd=clone)
    assert digests(clone) == digests(living)
    assert "up to date" in user(*DVC, "status", cwd=clone).stdout
    assert "Running stage" not in user("make", "reproduce", cwd=clone).stdout
    assert git(clone, "status", "--porcelain") == ""


def test_the_same_commit_gives_the_same_bytes_on_another_machine(living, user, git, tmp_path):
    git(tmp_path, "clone", "--quiet", living, tmp_path / "elsewhere")
    clone = tmp_path / "elsewhere"
    user("make", "setup", cwd=clone)
    user("make", "reproduce", cwd=clone)
    assert digests(clone) == digests(living)
    assert git(clone, "status", "--porcelain") == ""


def test_a_retrain_moves_one_date_and_keeps_the_past(living, user, tmp_path):
    project = copy(living, tmp_path / "later")
    path = project / "params.yaml"
    path.write_text(path.read_text().replace('until: "2026-06-30"', 'until: "2026-07-07"'))
    user(*DVC, "repro", cwd=project)
    before, after = (
        json.loads((p / "reports/metrics.json").read_text()) for p in (living, project)
    )
    assert after["examples"] > before["examples"]
    user(*DVC, "metrics", "diff", cwd=project)


def test_a_broken_contract_stops_the_pipeline_and_a_mend_resumes_it(living, user, tmp_path):
    project = copy(living, tmp_path / "broken")
    path, good = project / "params.yaml", (living / "params.yaml").read_text()
    path.write_text(
        good.replace('experiment_start: "2026-04-07"', 'experiment_start: "2026-06-30"')
    )
    refused = user(*DVC, "repro", cwd=project, check=False)
    assert refused.returncode
    assert "exposures has no rows" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert digests(project) == digests(living)
    path.write_text(good)
    assert "Running stage" not in user(*DVC, "repro", cwd=project).stdout


def test_the_notebook_to_explore_runs(living, user, tmp_path):
    project = copy(living, tmp_path / "explored")
    notebook = project / "notebooks" / "explore.ipynb"
    user(*PYTHON[:-1], "jupyter", "execute", "--inplace", notebook, cwd=project)
    outputs = [
        out for cell in json.loads(notebook.read_text())["cells"] for out in cell.get("outputs", [])
    ]
    assert any("image/png" in output.get("data", {}) for output in outputs)


def test_every_plot_of_dvc_yaml_has_data(living, user, tmp_path):
    output = user(*DVC, "plots", "show", "--json", cwd=living).stdout
    plots = json.loads(output)["data"]
    for name in ("Calibration", "Importance"):
        assert plots[name][0]["content"]["data"]["values"], name


def test_a_commit_is_mended_and_a_push_brings_the_data_first(living, user, git, tmp_path):
    project = copy(living, tmp_path / "hooked")
    user("make", "setup", cwd=project)
    git(project, "init", "--quiet", "--bare", tmp_path / "origin")
    git(project, "remote", "add", "origin", tmp_path / "origin")
    (project / "odd.py").write_text('"""Odd."""\n\nx = {  "a":1}\n')
    git(project, "add", "odd.py")
    who = {"GIT_AUTHOR_NAME": "T", "GIT_AUTHOR_EMAIL": "t@example.com"}
    who |= {"GIT_COMMITTER_NAME": "T", "GIT_COMMITTER_EMAIL": "t@example.com"}
    assert user("git", "commit", "-m", "Odd", cwd=project, check=False, **who).returncode == 1
    assert '"a": 1' in (project / "odd.py").read_text()
    git(project, "add", "odd.py")
    user("git", "commit", "-m", "Odd", cwd=project, **who)
    user("git", "push", "--quiet", "origin", "main", cwd=project)
    stored = (tmp_path / "promotion_ranker-storage").rglob("*")
    assert len([path for path in stored if path.is_file()]) >= 8


def test_checks_pass_and_formatting_leaves_no_difference(living, user, git):
    user("make", "check", cwd=living)
    user("make", "fix", cwd=living)
    assert git(living, "status", "--porcelain") == ""


@pytest.mark.xdist_group("variations")
@pytest.mark.parametrize(
    "answers",
    [*(answers for answers in VARIATIONS[1:] if "storage" not in answers), HOSTILE],
    ids=lambda answers: ",".join(answers.values())[-20:],
)
def test_checks_pass_for_every_variation(bake, user, git, tmp_path, answers):
    project = shutil.copytree(bake(**answers), tmp_path / "varied", symlinks=True)
    user("make", "setup", cwd=project)
    user("make", "check", cwd=project)
    user("make", "fix", cwd=project)
    assert git(project, "status", "--porcelain").replace("?? uv.lock", "") == ""


@pytest.mark.xdist_group("variations")
def test_checks_pass_on_another_python(bake, user, tmp_path):
    """The newest Python of those that are declared and that this machine has."""
    listing = user("uv", "python", "list", "--only-installed", "--output-format", "json", cwd=ROOT)
    found = {tuple(p["version_parts"].values())[:2]: p["path"] for p in json.loads(listing.stdout)}
    newest = max(version for version in found if (3, 11) <= version < (3, 15))
    if newest == (3, 11):
        pytest.fail("there is but one Python") if os.environ.get("CI") else pytest.skip(
            "one Python"
        )
    project = shutil.copytree(bake(), tmp_path / "newer", symlinks=True)
    user("make", "setup", cwd=project, UV_PYTHON=found[newest])
    version = user(*PYTHON, "--version", cwd=project).stdout
    assert version.startswith("Python {}.{}.".format(*newest))
    user("make", "check", cwd=project, UV_PYTHON=found[newest])


def test_the_report_is_read_in_a_browser_without_a_network(living, tmp_path, needs):
    chromium = needs("chromium")
    shot, page = tmp_path / "report.png", (living / "reports/report.html").as_uri()
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    flags += "--disable-background-networking --disable-component-update --window-size=1200,3000"
    nowhere = "--host-resolver-rules=MAP * ~NOTFOUND"
    command = [chromium, *flags.split(), nowhere, f"--user-data-dir={tmp_path / 'profile'}"]
    command_shot = [*command, f"--screenshot={shot}", page]
    subprocess.run(command_shot, check=True, capture_output=True, timeout=120)
    assert shot.stat().st_size > 50_000
    dump = subprocess.run(
        [*command, "--dump-dom", page], check=True, capture_output=True, text=True, timeout=120
    ).stdout
    assert "More than the best single choice" in dump


def test_a_database_server_is_a_source(living, user, postgres, tmp_path):
    """Load the snapshot into PostgreSQL, collect from it, and get the same snapshot."""
    project = copy(living, tmp_path / "shop")
    user("uv", "add", "--quiet", "--group", "pipeline", "psycopg[binary]", cwd=project)
    url = f"postgresql+psycopg://shop:$SHOP_PASSWORD@127.0.0.1:{postgres}/shop"
    load = (
        "import duckdb, os, sqlalchemy\n"
        f"engine = sqlalchemy.create_engine(os.path.expandvars({url!r}))\n"
        "for name in ('players', 'events', 'exposures'):\n"
        "    table = duckdb.read_parquet(f'data/raw/{name}.parquet').df()\n"
        "    table.to_sql(name, engine, index=False, chunksize=20000)\n"
    )
    user(*PYTHON, "-c", load, cwd=project, SHOP_PASSWORD="shop")
    path = project / "params.yaml"
    path.write_text(path.read_text().replace("source: simulator", f"source: {url}"))
    user(*PYTHON, "-m", "promotion_ranker.collect", cwd=project, SHOP_PASSWORD="shop")
    before, after = digests(living), digests(project)
    assert {k: v for k, v in after.items() if k.startswith("data/raw")} == {
        k: v for k, v in before.items() if k.startswith("data/raw")
    }
    refused = user(
        *PYTHON, "-m", "promotion_ranker.collect", cwd=project, check=False, SHOP_PASSWORD="wrong"
    )
    assert refused.returncode == 1
    assert refused.stderr.startswith("ERROR: queries/players.sql failed on the database: ")
    assert "Traceback" not in refused.stderr


@pytest.fixture
def postgres(needs, tmp_path):
    """A PostgreSQL server of this test's own, on loopback; gives its port."""
    binaries = Path(needs("/usr/lib/postgresql/*/bin/initdb")).parent
    folder = Path("/tmp") / f"cd4ml-postgres-{os.getpid()}"  # noqa: S108 (short, for its socket)
    folder.mkdir(mode=0o777)
    as_server = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        as_server = ["runuser", "-u", "postgres", "--"]
        shutil.chown(folder, "postgres")
    port = str(20_000 + os.getpid() % 20_000)
    (folder / "password").write_text("shop")
    subprocess.run(
        [
            *as_server,
            binaries / "initdb",
            *("-D", folder / "data", "-U", "shop", "--auth=scram-sha-256"),
            f"--pwfile={folder / 'password'}",
        ],
        check=True,
        capture_output=True,
    )
    options = ["-p", port, "-k", folder, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
    with (tmp_path / "postgres.log").open("w") as log:
        server = subprocess.Popen(
            [*as_server, binaries / "postgres", "-D", folder / "data", *options], stderr=log
        )
    environment = os.environ | {"PGPASSWORD": "shop"}
    create = [binaries / "createdb", "-h", "127.0.0.1", "-p", port, "-U", "shop", "shop"]
    for _ in range(100):
        if subprocess.run(create, env=environment, capture_output=True).returncode == 0:
            break
        time.sleep(0.2)
    yield port
    server.terminate()
    server.wait(30)
    shutil.rmtree(folder)


def test_two_commands_on_a_fresh_machine(template, tmp_path_factory):
    """An ordinary user with git, make and Python alone runs `make demo` in an odd folder."""
    root = tmp_path_factory.mktemp("fresh machine")
    copy = shutil.copytree(template, root / "the template")
    home = root / "home"
    home.mkdir()
    python = Path(os.path.realpath(shutil.which("python3", path=os.defpath) or "/usr/bin/python3"))
    environment = {"HOME": str(home), "PATH": f"{python.parent}:/usr/bin:/bin", "LANG": "C.UTF-8"}
    kept = ("SSL_", "PIP_", "UV_", "REQUESTS_", "CURL_", "HTTP", "NO_PROXY", "https_", "http_")
    environment |= {k: v for k, v in os.environ.items() if k.startswith(kept)}
    command = ["make", "demo"]
    if os.geteuid() == 0:
        for folder in (root, *root.parents):
            if folder.owner() == "root" and folder != Path("/"):
                folder.chmod(folder.stat().st_mode | 0o055)
        subprocess.run(["chown", "-R", "nobody", root], check=True)
        command = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *command]
    for _ in range(2):  # the registry is far away: a download may fail once
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
        if done.returncode == 0:
            break
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "model_over_best_single" in done.stdout
    assert re.search(
        r"What the service would show to player 42:(\n.+){13}\nThe newest event", done.stdout
    )
    report = re.search(r"The report: file://(.*)", done.stdout)
    assert report
    assert Path(report[1]).read_text().count("data:image/png") >= 5


def test_make_it_yours(living, user, tmp_path):
    """Follow the section of the README with another data set: a table of patients, no choices."""
    project = copy(living, tmp_path / "patients")
    source = ROOT / "tests" / "patients"
    user(*PYTHON, source / "make_database.py", project / "hospital.db", cwd=project)
    package = project / "src" / "promotion_ranker"
    shutil.rmtree(project / "queries")
    shutil.copytree(source / "queries", project / "queries")
    for name in ("contract.py", "features.sql"):
        shutil.copy(source / name, package / name)
    for path in ("simulate.py", "disturbance.py"):
        (package / path).unlink()
    (project / "data" / "promotions.csv").unlink()
    for path in (package / "tests").glob("*.py"):
        if path.name not in {"__init__.py", "test_journal.py", "test_pipeline.py", "test_store.py"}:
            path.unlink()
    drop_lines(project / "dvc.yaml", "simulate", "disturbance", "promotions.csv")
    params = yaml.safe_load((project / "params.yaml").read_text())
    del params["simulate"]
    params["collect"]["source"] = "sqlite:///hospital.db"
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    user("make", "fix", "check", "reproduce", cwd=project)
    metrics = json.loads((project / "reports/metrics.json").read_text())
    assert "policy" not in metrics
    assert metrics["error"]["model_rmse"]["value"] < metrics["error"]["baseline_rmse"]["value"]
    assert (
        "ranks with model" in user(*PYTHON, "-m", "promotion_ranker.selfcheck", cwd=project).stdout
    )
    report = (project / "reports/report.html").read_text()
    assert "What is a ranking worth?" not in report
    assert "Can the predictions be believed?" in report
    changed = user("git", "status", "--porcelain", cwd=project).stdout
    named = (project / "README.md").read_text().split("## Make it yours")[1].split("\n## ")[0]
    for line in changed.splitlines():
        path = line[3:]
        if not path.startswith(("reports/", "dvc.lock", "hospital.db")):
            part = path if path in named else f"{path.split('/tests/')[0]}/tests/"
            assert part in named or path.split("/")[0] + "/" in named, path


def drop_lines(path, *words):
    """Remove the lines of a file that hold one of the words."""
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not any(word in line for word in words)))
