"""The report on a change: what it says, whom it tells, and when it refuses."""

# ruff: noqa: F401, F811 - a fixture that is imported is not called

import json
import os
import re
import shutil
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from browser import browse
from changes import changed, duplicate, project, rewrite, verb
from forges import GitHub, serving

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("project")]
SECRET = "a-token"  # noqa: S105


@contextmanager
def pull_requested(project, git, folder):
    """The variables of a GitHub pull request of that branch, with a fake of the API."""
    change = {
        "number": 7,
        "head": {"sha": git(project, "rev-parse", "HEAD"), "ref": "feature"},
        "base": {"sha": git(project, "rev-parse", "main"), "ref": "main"},
    }
    change["head"]["repo"] = {"full_name": "team/ranker"}
    event, summary = folder / "event.json", folder / "summary.md"
    event.write_text(json.dumps({"pull_request": change}))
    summary.write_text("What was there.\n")
    with serving(GitHub(("Authorization", f"Bearer {SECRET}"))) as forge:
        variables = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_API_URL": forge.url,
            "GITHUB_EVENT_NAME": "pull_request",
            "GITHUB_EVENT_PATH": event,
            "GITHUB_REF_NAME": "7/merge",
            "GITHUB_REF_TYPE": "branch",
            "GITHUB_REPOSITORY": "team/ranker",
            "GITHUB_RUN_ID": "123",
            "GITHUB_SERVER_URL": "https://github.example",
            "GITHUB_SHA": change["head"]["sha"],
            "GITHUB_STEP_SUMMARY": summary,
            "GITHUB_TOKEN": SECRET,
        }
        yield forge, variables


@pytest.fixture
def pull_request(project, git, tmp_path):
    """The same for one test."""
    with pull_requested(project, git, tmp_path) as request:
        yield request


@pytest.fixture(scope="module")
def reported(changed, verb, git, tmp_path_factory):
    """The change as a pull request that was reported: project, report, forge, summary."""
    folder = tmp_path_factory.mktemp("reported")
    project = duplicate(changed, folder)
    environments = project / "deploy/environments.yaml"
    environments.parent.mkdir(exist_ok=True)
    environments.write_text("review:\n  url: https://review-{number}.example\n")
    with pull_requested(project, git, folder) as (forge, variables):
        done = verb("report", project, **variables, DASHBOARD_PASSWORD="hunter2")
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    text = (project / "reports/delivery/report.md").read_text()
    return project, text, forge, Path(variables["GITHUB_STEP_SUMMARY"]).read_text()


def rows(text, title):
    """The rows of the table below a heading, by their first cell."""
    section = re.split(rf"^### {title}.*$", text, flags=re.M)[1].split("\n### ")[0]
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line[:1] == "|"]
    return {line[0].strip("`"): line[1:] for line in lines}


def test_a_change_is_reported_to_everybody(reported):
    _, text, forge, summary = reported
    (comment,) = forge.comments
    assert comment["body"] == text
    assert summary == "What was there.\n" + text
    assert re.search(r"^## 🟢 Promote|^## 🔴 Block|^## 🟡 Needs a person", text, re.M)
    assert "against main" in text
    assert "[this run](https://github.example/team/ranker/actions/runs/123)" in text
    links = "[The review app](https://review-7.example), and "
    assert f"{links}[its dashboard](https://dashboard-review-7.example)." in text
    assert "hunter2" not in text


def test_the_figures_are_those_of_both_commits(reported, git):
    project, text, *_ = reported
    metrics = rows(text, "Metrics")
    assert metrics["metric"] == ["main", "this change", "change"]
    base = json.loads(git(project, "show", "main:reports/metrics.json"))
    head = json.loads((project / "reports/metrics.json").read_text())
    for group in ("policy", "error"):
        for name, now in head[group].items():
            before, after, change = metrics[f"{group}.{name}"]
            then = base[group][name]
            for figure, shown in ((then, before), (now, after)):
                ends = [f"{figure[end]:#,.3g}" for end in ("value", "low", "high")]
                assert shown == "{} ({} to {})".format(*ends)
            outside = not then["low"] <= now["value"] <= then["high"]
            assert change.startswith("**") == outside
            more = now["value"] - then["value"]
            about_zero = then["low"] <= 0 <= then["high"]
            share = f"{more:+.3g}" if about_zero else f"{more / abs(then['value']):+.1%}"
            assert change.strip("*") == share
    assert "Each column is measured on its own data" in text
    assert metrics["examples"][1] == f"{head['examples']:,}"
    slices = rows(text, "Slices")
    assert {"country=DE", "platform=ios"} < set(slices)
    assert all(len(cells) == 3 for cells in slices.values())


def test_changed_parameters_and_data_are_listed_and_no_others(reported, git):
    project, text, *_ = reported
    parameters = rows(text, "Parameters")
    del parameters["parameter"], parameters["---"]
    assert parameters == {
        "collect.until": ['`"2026-06-30"`', '`"2026-07-07"`'],
        "train.depth": ["`5`", "`3`"],
        "train.rounds": ["`30`", "`25`"],
    }
    base = json.loads(git(project, "show", "main:reports/data.json"))
    data = rows(text, "Data")
    now = json.loads((project / "reports/data.json").read_text())["events"]["rows"]
    assert data["events"][0] == f"{now:,} ({now - base['events']['rows']:+,})"
    assert data["events"][1:3] == ["the same", "2026-01-01"]
    assert data["events"][3] == "2026-06-30 → 2026-07-07"


def test_plots_lie_over_one_another_in_the_comment(reported):
    charts = re.findall(r"```mermaid\n(.+?)```", reported[1], re.S)
    curve, bars = charts
    assert len(re.findall(r"^    line \[", curve, re.M)) == 2
    assert sorted(re.findall(r"^    (line|bar) \[", bars, re.M)) == ["bar", "line"]
    for chart in charts:
        series = [line.split(",") for line in re.findall(r"(?:line|bar) \[(.+)\]", chart)]
        assert {len(values) for values in series} == {8}
        assert series[0] != series[1]
    assert "grey: main, blue: this change" in reported[1]


def test_changed_columns_and_metrics_are_told(project, living, run):
    path = project / "reports/data.json"
    facts = json.loads(path.read_text())
    facts["players"]["columns"] |= {"shoe_size": "BIGINT", "country": "BIGINT"}
    del facts["players"]["columns"]["platform"]
    facts["shops"] = facts.pop("events")
    path.write_text(json.dumps(facts))
    path = project / "reports/metrics.json"
    metrics = json.loads(path.read_text())
    metrics["error"]["model_bias"] = {"value": 0.5, "low": 0.4, "high": None}
    del metrics["error"]["model_mae"]
    path.write_text(json.dumps(metrics))
    code = (
        "from delivery.facts import *\n"
        "old, new = Facts.read('main', 'main'), Facts.read('new', None)\n"
        "print('### Metrics', metrics_table([old, new]), sep='\\n')\n"
        "print('### Data', data_table(old, new), sep='\\n')\n"
    )
    text = run(living / ".venv/bin/python", "-c", code, cwd=project).stdout
    found, data = rows(text, "Metrics"), rows(text, "Data")
    assert found["error.model_bias"] == ["-", "0.500 (0.400 to ?)", "new"]
    assert found["error.model_mae"][1:] == ["-", "gone"]
    assert data["players"][1] == "+ `shoe_size`, - `platform`, `country` is BIGINT"
    assert data["shops"][1] == "a new table"
    assert data["events"][0] == "gone"


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (Path.unlink, "reports/metrics.json is missing"),
        (lambda path: path.write_text("<<<<<<< HEAD\n{}"), "reports/metrics.json is damaged"),
        (lambda path: path.write_text('{"error": {}}'), "reports/metrics.json is damaged"),
    ],
    ids=["missing", "conflict", "empty"],
)
def test_a_change_without_metrics_is_refused(project, pull_request, verb, damage, sentence):
    forge, variables = pull_request
    damage(project / "reports/metrics.json")
    done = verb("report", project, **variables)
    assert done.returncode == 1
    assert done.stderr.startswith(f"ERROR: {sentence}")
    assert len(done.stderr.splitlines()) == 1
    assert forge.comments == []


def test_a_broken_floor_refuses_the_change_and_is_reported(project, pull_request, verb):
    forge, variables = pull_request
    rewrite(project / "params.yaml", "error.model_r2: 0.0", "error.model_r2: 0.5")
    done = verb("report", project, **variables)
    assert done.returncode == 1
    assert "🔴 Block" in forge.comments[0]["body"]
    assert "below its floor 0.5" in forge.comments[0]["body"]
    assert "block: error.model_r2 is 0." in done.stdout


def test_a_floor_that_names_no_metric_is_refused(project, verb):
    rewrite(project / "params.yaml", "error.model_r2: 0.0", "error.model_r3: 0.0")
    done = verb("gate", project)
    assert done.returncode == 2
    assert "gate.floors names error.model_r3" in done.stderr


def test_a_fork_gets_a_summary_and_no_comment(project, pull_request, verb):
    forge, variables = pull_request
    rewrite(Path(variables["GITHUB_EVENT_PATH"]), "team/ranker", "somebody/ranker")
    done = verb("report", project, **variables | {"GITHUB_TOKEN": None})
    assert done.returncode == 0, done.stderr
    assert forge.calls == []
    assert "### Metrics" in Path(variables["GITHUB_STEP_SUMMARY"]).read_text()


def test_the_first_commit_has_nothing_to_be_compared_with(project, verb, git, bake):
    """Nor does its provider draw charts: there are figures."""
    (project / "delivery/providers/github.py").unlink()
    shutil.copy(bake(ci="none") / "delivery/providers/none.py", project / "delivery/providers")
    shutil.rmtree(project / ".git")
    git(project, "init", "--quiet", "--initial-branch=main")
    git(project, "-c", "filter.nbstripout.clean=cat", "add", "--all")
    git(project, "commit", "--quiet", "--no-verify", "--message", "Start")
    done = verb("report", project)
    assert done.returncode == 0, done.stderr
    text = (project / "reports/delivery/report.md").read_text()
    assert "There is no commit before this one" in text
    assert rows(text, "Metrics")["metric"] == ["this change", "change"]
    assert "🟢 Promote" in text
    assert "mermaid" not in text
    assert "| predicted | this change |" in text


def test_a_base_without_metrics_is_told(project, verb, git):
    git(project, "rm", "--quiet", "-r", "--cached", "reports", "dvc.lock")
    tree = git(project, "write-tree")
    bare = git(project, "commit-tree", tree, "-p", "main", "-m", "As rendered")
    git(project, "reset", "--quiet")
    after = git(project, "commit-tree", "HEAD^{tree}", "-p", bare, "-m", "Reproduce")
    git(project, "reset", "--quiet", after)
    git(project, "update-ref", "refs/heads/main", bare)
    git(project, "update-ref", "refs/remotes/origin/main", bare)
    done = verb("report", project)
    assert done.returncode == 0, done.stderr
    text = (project / "reports/delivery/report.md").read_text()
    assert "Main has no metrics." in text
    assert "Main has no model yet." in text


def test_a_shallow_clone_is_refused(project, verb, git, tmp_path):
    """Neither report nor notebooks may say that nothing changed."""
    clone = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{project}", clone)
    for name in ("report", "notebooks"):
        done = verb(name, clone)
        assert done.returncode == 2
        assert "fetch all of the history" in done.stderr


def test_what_production_serves_is_compared_too(project, living, verb, run, git):
    """At /version it names a commit before main's, then one that nobody has, then it is gone."""
    served = git(project, "rev-parse", "main")
    git(project, "commit", "--quiet", "--allow-empty", "--message", "Main went on")
    git(project, "update-ref", "refs/heads/main", "HEAD")
    git(project, "commit", "--quiet", "--allow-empty", "--message", "The change")
    (project / "deploy").mkdir(exist_ok=True)
    code = "from delivery import *; from delivery import rivals, providers\n"
    asked = (living / ".venv/bin/python", "-c", code + "print(rivals.find(providers.context()))")
    with serving(Production(("Connection", "close"))) as production:  # no token
        url = production.url.removesuffix("/api")
        (project / "deploy/environments.yaml").write_text(f"production:\n  url: {url}\n")
        production.revision = served
        done = verb("report", project)
        assert done.returncode == 0, done.stderr
        text = (project / "reports/delivery/report.md").read_text()
        assert rows(text, "Metrics")["metric"] == ["main", "production", "this change", "change"]
        assert "against production" in text
        production.revision = "f" * 40
        found = run(*asked, cwd=project, no_proxy="*").stdout
        assert "Production serves ffffffffffff, a commit that this clone does not have." in found
    found = run(*asked, cwd=project, no_proxy="*").stdout
    assert f"Production ({url}) does not say what it serves" in found


class Production(GitHub):
    """A service that says which commit it is."""

    revision = ""

    def answer(self, asked):
        assert asked.path == "/version", asked
        return {"revision": self.revision}


class Loads(HTMLParser):
    """What a page would load or run."""

    def __init__(self):
        super().__init__()
        self.found, self.scripts = [], 0

    def handle_starttag(self, tag, attributes):
        self.scripts += tag in ("script", "iframe", "object", "embed", "link", "base", "form")
        for name, value in attributes:
            self.scripts += name.startswith("on")
            outside = name in ("src", "xlink:href", "data", "poster", "srcset")
            if outside and not value.startswith(("data:", "#")):
                self.found.append(value)


def test_the_pages_load_and_run_nothing(project, verb, needs, tmp_path):
    hostile = "<img src=http://evil.example/x onerror=alert(1)><script>alert(1)</script>"
    slices = project / "reports/plots/slices.csv"
    slices.write_text(slices.read_text().replace("country=DE", f"country={hostile}|`x"))
    notebook = project / "notebooks/explore.ipynb"
    content = nbformat.read(notebook, as_version=4)
    shown = f"from IPython.display import HTML\nHTML({hostile!r})"
    content.cells.append(nbformat.v4.new_code_cell(f"{shown}\n# </pre>{hostile} ```"))
    content.cells.append(nbformat.v4.new_code_cell(content.cells[5].source))
    content.cells.insert(1, nbformat.v4.new_markdown_cell(hostile))
    nbformat.write(content, notebook)
    for name in ("notebooks", "report"):
        done = verb(name, project)
        assert done.returncode == 0, done.stderr
    assert "### Notebooks" in (project / "reports/delivery/report.md").read_text()
    for name in ("notebooks", "report"):
        path = project / f"reports/delivery/{name}.html"
        loads = Loads()
        loads.feed(path.read_text())
        assert (loads.found, loads.scripts) == ([], 0)
        with browse(needs("chromium"), tmp_path / name) as page:
            page.open(path.as_uri())
            page.until("document.readyState === 'complete'")
            page.until("document.querySelectorAll('img[src^=\"data:\"], svg').length")
            assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
            assert page.errors == []
            assert all(url.startswith(("file:", "data:")) for url in page.requested)
            assert "evil.example" in page.evaluate("document.body.textContent")
