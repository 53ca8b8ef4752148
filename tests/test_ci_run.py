"""Each provider's file is executed: the first push, a change and the button, with their verbs.

What a job needs from outside is a real registry, a fake of the provider's API, and a docker client
that is a stub. Jobs run in fresh clones that share nothing but the provider's cache.
"""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import registry
from conftest import PYTHON, copy
from forges import Azure, Bitbucket, GitHub, GitLab, serving
from node import node  # noqa: F401
from runners import Event, azure, bitbucket, github, gitlab, machine
from test_delivery_check import EMPTY, write_notebook

STUBS = Path(__file__).with_name("stubs")
TOKEN = "a token"  # noqa: S105
BASIC = base64.b64encode(f":{TOKEN}".encode()).decode()
FORGES = {
    "azure": lambda: Azure(("Authorization", f"Basic {BASIC}")),
    "bitbucket": lambda: Bitbucket(("Authorization", f"Bearer {TOKEN}")),
    "github": lambda: GitHub(("Authorization", f"Bearer {TOKEN}")),
    "gitlab": lambda: GitLab(("PRIVATE-TOKEN", TOKEN)),
}
SMALL = {
    "players: 18000": "players: 1500",
    'experiment_start: "2026-04-07"': 'experiment_start: "2026-06-01"',
    "exposures_per_day: 1300": "exposures_per_day: 200",
    "rounds: 120": "rounds: 20",
    "resamples: 500": "resamples: 40",
    "model_r2: 0.0": "model_r2: -9.0",
    "model_over_random: 0.0": "model_over_random: -9.0",
}
PLANNED = [
    pytest.param(name, marks=pytest.mark.xdist_group(f"ci-{name}"))
    for name in ("azure", "bitbucket", "github")
]
pytestmark = pytest.mark.slow


def change(path, *pairs):
    text = path.read_text()
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text)


@pytest.fixture(scope="session")
def history(bake, scratch, user, git):
    """Three states of a small project: as rendered, reproduced, and with a change."""
    project = copy(bake(), scratch / "history" / "promotion_ranker")
    change(project / "params.yaml", *SMALL.items())
    for path in (project / "src/promotion_ranker/tests").glob("test_*.py"):
        if path.name != "test_params.py":
            path.unlink()
    user("uv", "lock", "--quiet", cwd=project)
    states = [copy(project, scratch / "history" / "first")]
    user("uv", "sync", "--quiet", cwd=project)
    user(*PYTHON[:-1], "dvc", "repro", "--quiet", cwd=project)
    states.append(copy(project, scratch / "history" / "main"))
    change(project / "params.yaml", ("depth: 4", "depth: 3"))
    write_notebook(project / "notebooks" / "idea.ipynb", EMPTY)
    user(*PYTHON[:-1], "dvc", "repro", "--quiet", cwd=project)
    states.append(copy(project, scratch / "history" / "change"))
    return states


class Project:
    """The repository of a project at a provider, its API, its registry and its host."""

    def __init__(self, provider, folder, git, forge, address):
        self.provider, self.folder, self.git, self.forge = provider, folder, git, forge
        self.origin, self.registry = folder / "promotion_ranker", address
        hosts, programs = folder / "hosts", folder / "bin"
        hosts.mkdir()
        programs.mkdir()
        ports = [registry.free_port(), registry.free_port()]
        empty = {"containers": {}, "networks": [], "ports": ports}
        (hosts / "local.json").write_text(json.dumps(empty))
        cache = os.environ.get("UV_CACHE_DIR", Path.home() / ".cache/uv")
        uv = Path(sys.executable).with_name("uv")
        for name, line in {
            "uv": f'UV_CACHE_DIR="{cache}" exec {uv} "$@"',
            "docker": f'exec {sys.executable} {STUBS / "engine.py"} "$@"',
            "apt-get": 'case "$1" in update|install) ;; *) exit 1;; esac',
        }.items():
            (programs / name).write_text(f"#!/bin/sh\n{line}\n")
            (programs / name).chmod(0o755)
        tools = str(Path(sys.executable).parent)
        path = [p for p in os.environ["PATH"].split(os.pathsep) if p != tools]
        self.env = {
            "PATH": os.pathsep.join([str(programs), *path]),
            "STUB_FOLDER": str(hosts),
            "IMAGE_REGISTRY": address,
            "GITHUB_API_URL": forge.url,
            "BITBUCKET_API_URL": forge.url,
            "CI_API_V4_URL": forge.url,
        }

    def commit(self, state, given, branch):
        """Commit a state of the history with the files of this provider."""
        shutil.rmtree(self.origin / "src", ignore_errors=True)
        shutil.copytree(state, self.origin, symlinks=True, dirs_exist_ok=True)
        for name in (".github", "delivery"):
            shutil.rmtree(self.origin / name, ignore_errors=True)
        for path in given.iterdir():
            if path.name not in (".git", "src", "params.yaml", "notebooks", "reports", "data"):
                place = self.origin / path.name
                if path.is_dir():
                    shutil.copytree(path, place, dirs_exist_ok=True)
                elif not place.exists() or path.name.endswith(".yml"):
                    shutil.copy(path, place)
        file = self.origin / "deploy/environments.yaml"
        file.write_text(re.sub(r"ready_seconds: 60", "ready_seconds: 20", file.read_text()))
        if not (self.origin / ".git").exists():
            self.git(self.origin, "init", "--quiet", "--initial-branch=main")
            self.git(self.origin, "config", "uploadpack.allowAnySHA1InWant", "true")
        if branch != "main":
            self.git(self.origin, "checkout", "--quiet", "-b", branch)
        self.git(self.origin, "add", "--all")
        self.git(self.origin, "commit", "--quiet", "--message", f"The {state.name}")
        return self.git(self.origin, "rev-parse", "HEAD")

    def run(self, event, node):  # noqa: F811
        """Run what an event starts; the jobs by name."""
        clone = self.folder / "plans" / event.kind
        self.git(self.folder, "clone", "--quiet", "--no-checkout", self.origin, clone)
        self.git(clone, "checkout", "--quiet", "--detach", event.sha)
        plans = {"azure": azure, "bitbucket": bitbucket, "github": github}
        more = (node,) if self.provider == "github" else ()
        jobs = plans[self.provider].plan(clone, event, *more)
        env = dict(self.env)
        if self.provider == "github":
            document = self.folder / f"{event.kind}.json"
            document.write_text(json.dumps(github.describe(event)["event"]))
            env |= {"GITHUB_EVENT_PATH": str(document)}
            env |= {"GITHUB_STEP_SUMMARY": str(self.folder / f"{event.kind}.md")}
        for job in jobs:
            job.env |= {"IMAGE_REGISTRY": self.registry}
            if self.provider == "azure":
                job.env["SYSTEM_COLLECTIONURI"] = f"{self.forge.url}/"
        results = machine.run(jobs, event, self.origin, self.folder, env)
        broken = {name: result.log for name, result in results.items() if result.code != 0}
        assert broken == {}, "\n".join(broken.values())
        return results

    def serves(self, environment):
        """The revisions of an environment's containers."""
        world = json.loads((self.folder / "hosts/local.json").read_text())
        labels = [row["labels"] for row in world["containers"].values() if "labels" in row]
        here = [row for row in labels if row.get("delivery.environment") == environment]
        return [row["delivery.revision"] for row in here]


@pytest.fixture
def project(request, bake, tmp_path, git, needs):
    """Make the repository of the provider that the test names."""
    provider = request.param if hasattr(request, "param") else request.getfixturevalue("provider")
    images = registry.running(needs("docker-registry"), tmp_path / "images")
    with serving(FORGES[provider]()) as forge, images as address:
        made = Project(provider, tmp_path, git, forge, address)
        yield made
    pids = tmp_path / "hosts/pids"
    for pid in pids.read_text().split() if pids.exists() else ():
        subprocess.run(["kill", "-9", pid], capture_output=True, check=False)


@pytest.mark.parametrize("provider", PLANNED)
def test_a_provider_runs_its_file(provider, project, history, bake, node):  # noqa: F811
    first, main, changed = history
    given = bake(ci=provider, deploy="compose")
    start = project.commit(first, given, "main")
    results = project.run(Event("push", sha=start, base=start), node)
    assert set(results) == {"check", "reproduce", "report", "image"}
    assert "nothing was reproduced yet" in results["check"].log
    assert results["reproduce"].log.count("Running stage") == 5
    assert "Running stage" not in results["image"].log, "the cache brings what was made"
    base = project.commit(main, given, "main")
    head = project.commit(changed, given, "change")
    secrets = {"REGISTRY_PASSWORD": "p", "SYSTEM_ACCESSTOKEN": TOKEN, "BITBUCKET_TOKEN": TOKEN}
    secrets["System.AccessToken"] = TOKEN
    opened = Event("pull_request", variables={"REVIEW_APPS": "true"}, secrets=secrets)
    opened.sha, opened.base = head, base
    results = project.run(opened, node)
    assert results["reproduce"].log.count("Running stage") == 3, "what the change touches"
    assert len(project.forge.comments) == 1
    assert (results["report"].artifacts / "report.html").exists()
    assert "idea.ipynb" in results["notebooks"].log
    assert project.serves("review-7") == [head]
    chosen = {"VERB": "deploy", "ENVIRONMENT": "staging", "VERSION": head}
    if provider != "bitbucket":
        chosen = {name.lower(): value for name, value in chosen.items()}
    button = Event("button", sha=base, base=base, secrets=secrets, inputs=chosen)
    project.run(button, node)
    assert project.serves("staging") == [head]


@pytest.mark.xdist_group("ci-gitlab")
@pytest.mark.parametrize("provider", ["gitlab"])
def test_gitlab_runs_its_file(provider, project, history, bake, node, git):  # noqa: F811
    """Run every job of a merge request in gitlab-ci-local, then those that wait for a person."""
    _, main, changed = history
    given = bake(ci=provider, deploy="compose")
    base = project.commit(main, given, "main")
    head = project.commit(changed, given, "change")
    clone = project.folder / "clone"
    git(project.folder, "clone", "--quiet", project.origin, clone)
    git(clone, "remote", "set-url", "origin", "https://forge.example/team/ranker.git")
    env = {name: project.env[name] for name in ("PATH", "STUB_FOLDER", "CI_API_V4_URL")}
    env |= {"HOME": str(project.folder), "CI_REGISTRY_IMAGE": project.registry}
    secrets = {"GITLAB_TOKEN": TOKEN, "CI_REGISTRY_USER": "ci", "CI_REGISTRY_PASSWORD": "p"}
    opened = Event("pull_request", variables={"REVIEW_APPS": "true"}, secrets=secrets)
    opened.sha, opened.base = head, base
    log = gitlab.run(clone, opened, node, env)
    passed = set(re.findall(r"PASS.*?([\w-]+)\s*$", log, re.M))
    jobs = {"check", "reproduce", "report", "notebooks", "build", "review-app"}
    assert passed == jobs, log
    assert len(project.forge.comments) == 1
    artifacts = clone / ".gitlab-ci-local/artifacts"
    assert (artifacts / "report/reports/delivery/report.html").exists()
    assert project.serves("review-7") == [head]
    gitlab.run(clone, opened, node, env, "review-app-down")
    assert project.serves("review-7") == []
    chosen = {"VERB": "deploy", "ENVIRONMENT": "staging", "VERSION": head}
    gitlab.run(clone, Event("button", inputs=chosen, secrets=secrets), node, env)
    assert project.serves("staging") == [head]
