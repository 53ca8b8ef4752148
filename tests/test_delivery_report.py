"""The report on a change: what it says, whom it tells, and when it refuses."""

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
from conftest import ROOT
from forges import GitHub, serving

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("project")]
SECRET = "a-token"  # noqa: S105
CHANGES = {
    'until: "2026-06-30"': 'until: "2026-07-07"',
    "depth: 5": "depth: 3",
    "rounds: 30": "rounds: 25",
}


@pytest.fixture(scope="module")
def verb(living, run):
    """Run a verb in a copy of the living project, with the living one's environment."""
    tools = living / ".venv/bin"

    def verb(name, project, **variables):
        path = f"{tools}:/usr/local/bin:/usr/bin:/bin"
        given = {"PATH": path, "PYTHONPATH": project / "src", "no_proxy": "*"} | variables
        command = (tools / "python", "-m", "delivery", name)
        done = run(*command, cwd=project, check=False, **given)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return verb


@pytest.fixture(scope="module")
def changed(living, run, git, tmp_path_factory):
    """The living project on a branch that changed parameters and data, reproduced and committed."""
    project = tmp_path_factory.mktemp("changed") / "promotion_ranker"
    shutil.copytree(living, project, symlinks=True, ignore=shutil.ignore_patterns(".venv"))
    git(project, "config", "core.hooksPath", "/dev/null")
    git(project, "checkout", "--quiet", "-b", "feature")
    path = project / "params.yaml"
    text = path.read_text()
    for old, new in CHANGES.items():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    tools = f"{living / '.venv/bin'}:/usr/bin:/bin"
    run(living / ".venv/bin/dvc", "repro", cwd=project, PATH=tools, PYTHONPATH=project / "src")
    git(project, "commit", "--quiet", "--all", "--message", "Later, and shallower")
    git(project, "update-ref", "refs/remotes/origin/main", "main")
    return project


def duplicate(changed, folder):
    """A copy to change; what is large and never changed is linked, and the cache is shared."""

    def bring(source, target):
        large = {"data", "models"} & set(Path(source).relative_to(changed).parts[:1])
        (os.link if large else shutil.copy2)(source, target)

    ignored = shutil.ignore_patterns("cache", "delivery.lock")
    project = folder / "promotion_ranker"
    shutil.copytree(changed, project, symlinks=True, ignore=ignored, copy_function=bring)
    (project / ".dvc/config.local").write_text(f"[cache]\n    dir = {changed}/.dvc/cache\n")
    return project


@pytest.fixture
def project(changed, tmp_path):
    """A copy of it to change."""
    return duplicate(changed, tmp_path)


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


def rewrite(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


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


def test_a_lost_model_is_made_again_from_its_commit(project, verb):
    (project / ".dvc/config.local").unlink()
    done = verb("gate", project, UV_CACHE_DIR=Path.home() / ".cache/uv")
    assert done.returncode == 0, done.stderr
    assert "made again from its commit" in done.stdout
    assert "on the same" in done.stdout
    assert not list(Path(project / ".git").glob("worktrees/*"))


def test_a_model_that_cannot_be_made_again_needs_a_person(project, verb, git):
    git(project, "stash", "--quiet", "--include-untracked") if git(
        project, "status", "-s"
    ) else None
    git(project, "checkout", "--quiet", "main")
    train = project / "src/promotion_ranker/train.py"
    train.write_text('raise SystemExit("ERROR: no such machine")\n')
    rewrite_lock(project)
    git(project, "commit", "--quiet", "--all", "--message", "Lose the model")
    git(project, "checkout", "--quiet", "feature")
    git(project, "merge", "--quiet", "--strategy=ours", "--message", "Go on", "main")
    done = verb("gate", project, UV_CACHE_DIR=Path.home() / ".cache/uv")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(
        "needs a person: no comparison with main: its model is not stored"
    )
    assert len(done.stdout.splitlines()) == 1


def rewrite_lock(project):
    """Make dvc.lock name a model that nobody has."""
    path = project / "dvc.lock"
    lines = path.read_text().splitlines()
    place = lines.index("    - path: models", lines.index("  train:"))
    lines[place + 2] = "      md5: 00000000000000000000000000000000.dir"
    path.write_text("\n".join(lines) + "\n")


def test_other_features_need_a_person(project, verb):
    path = project / "models/lineage.json"
    lineage = json.loads(path.read_text())
    lineage["inputs"]["shoe_size"] = []
    path.unlink()
    path.write_text(json.dumps(lineage))
    done = verb("gate", project)
    assert done.returncode == 0
    assert done.stdout.startswith("needs a person: the features are others than main's: shoe_size")


def test_a_change_that_leaves_the_model_alone_may_go(project, verb, git):
    git(project, "update-ref", "refs/heads/main", "HEAD~0")
    git(project, "commit", "--quiet", "--allow-empty", "--message", "Words")
    assert "byte for byte" in verb("gate", project).stdout


def test_the_gate_is_as_often_right_as_it_says(living, run):
    """Truth, simulated: at the margin at most one in twenty is promoted or blocked by mistake."""
    shutil.copy(ROOT / "tests/gate_trials.py", living.parent / "gate_trials.py")
    command = (living / ".venv/bin/python", living.parent / "gate_trials.py")
    trials = json.loads(run(*command, cwd=living, PYTHONPATH=living).stdout)
    for worlds in trials.values():
        assert worlds["better"]["promote"] >= 95
        assert worlds["equal"]["block"] == 0
        assert worlds["equal"]["promote"] >= 60
        assert worlds["at the margin"]["promote"] <= 12
        assert worlds["at the margin"]["block"] <= 12
        assert worlds["worse"]["promote"] == 0
        assert worlds["worse"]["block"] >= 95
        for name in ("at the margin", "worse"):
            assert 80 <= worlds[name]["covered"] <= 98


def test_the_deciding_number_of_examples_is_told(living, run):
    gains = {
        "Gain(-0.01, -0.05, 0.03, 1000)": "4000",  # a reach of 0.04 over a distance of 0.02
        "Gain(-0.11, -0.193, -0.027, 20_280)": "22000",
        "Gain(-0.03, -0.05, 0.0, 1000)": "None",
    }
    listed = ", ".join(f"examples_that_decide({gain}, 0.03)" for gain in gains)
    code = f"from delivery.gain import *\nprint({listed})"
    said = run(living / ".venv/bin/python", "-c", code, cwd=living).stdout
    assert said.split() == list(gains.values())


def write_notebook(path, *sources):
    new_cell = nbformat.v4.new_code_cell
    cells = [new_cell(source, id=f"cell-{number}") for number, source in enumerate(sources)]
    path.parent.mkdir(exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


def test_notebooks_are_shown_as_added_changed_renamed_and_deleted(project, verb, git):
    folder = project / "notebooks"
    git(project, "checkout", "--quiet", "main")
    long = [f"x{number} = {number}" for number in range(20)]
    for name in ("moved", "dropped", "edited"):
        write_notebook(folder / f"{name}.ipynb", f"# {name}", *long)
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "Notebooks")
    git(project, "checkout", "--quiet", "-B", "feature")
    git(project, "mv", "notebooks/moved.ipynb", "notebooks/to here.ipynb")
    git(project, "rm", "--quiet", "notebooks/dropped.ipynb")
    write_notebook(folder / "edited.ipynb", "# edited", *long[:10], "print('ten')", *long[11:])
    write_notebook(folder / "new.ipynb", "print(6 * 7)")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "Change them")
    done = verb("notebooks", project)
    assert done.returncode == 0, done.stderr
    said = dict(line.rsplit(": ", 1) for line in done.stdout.splitlines())
    assert said == {
        "notebooks/dropped.ipynb": "deleted",
        "notebooks/edited.ipynb": "changed",
        "notebooks/moved.ipynb → notebooks/to here.ipynb": "renamed",
        "notebooks/new.ipynb": "added",
    }
    text = (project / "reports/delivery/notebooks.md").read_text()
    assert "\n-  x10 = 10\n+  print('ten')\n" in text
    assert "execution_count" not in text
    assert text.count("<details>") == text.count("</details>") == 4
    page = (project / "reports/delivery/notebooks.html").read_text()
    assert "11 cells unchanged" in page
    assert '<pre class="output">42</pre>' in page.replace("\n", "")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("<<<<<<< HEAD\n{}\n=======", "it is no notebook: conflict markers, or not JSON"),
        (["x = 1", "1 / 0"], "cell 2: ZeroDivisionError: division by zero"),
    ],
)
def test_a_broken_notebook_is_a_finding(project, verb, git, content, sentence):
    path = project / "notebooks/odd.ipynb"
    if isinstance(content, str):
        path.write_text(content)
    else:
        write_notebook(path, *content)
    git(project, "-c", "filter.nbstripout.clean=cat", "add", path)
    done = verb("notebooks", project)
    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    assert line.startswith("notebooks/odd.ipynb: added; ")
    assert sentence in line
    assert sentence in (project / "reports/delivery/notebooks.md").read_text()


def test_without_changed_notebooks_there_is_nothing_to_show(project, verb):
    done = verb("notebooks", project)
    assert (done.returncode, done.stdout) == (0, "")
    assert (project / "reports/delivery/notebooks.md").read_text() == ""
