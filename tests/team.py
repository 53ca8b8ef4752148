"""A team at a provider: its repository, API, registry, storage and host, on loopback."""

import base64
import json
import os
import re
import shutil
import sys
from pathlib import Path

import registry
from forges import Azure, Bitbucket, GitHub, GitLab
from runners import Event, azure, bitbucket, github, gitlab
from runners.machine import Machine, Result

STUBS = Path(__file__).with_name("stubs")
TOKEN = "a token"  # noqa: S105
BASIC = base64.b64encode(f":{TOKEN}".encode()).decode()
FORGES = {
    "azure": lambda: Azure(("Authorization", f"Basic {BASIC}")),
    "bitbucket": lambda: Bitbucket(("Authorization", f"Bearer {TOKEN}")),
    "github": lambda: GitHub(("Authorization", f"Bearer {TOKEN}")),
    "gitlab": lambda: GitLab(("PRIVATE-TOKEN", TOKEN)),
}
SECRETS = {"REGISTRY_PASSWORD": "p", "CI_REGISTRY_USER": "ci", "CI_REGISTRY_PASSWORD": "p"}
SECRETS |= {"BITBUCKET_TOKEN": TOKEN, "GITLAB_TOKEN": TOKEN}
PLANNERS = {"azure": azure, "bitbucket": bitbucket, "github": github}
NAMES = {"build": "image", "button": "deploy"}  # where a provider's file says it otherwise
HOME = "forge.example/team/ranker"
PUSHED = (f"https://x-access-token:{TOKEN}@{HOME}", f"https://oauth2:{TOKEN}@{HOME}.git")
TODAY = "2026-07-03"  # to the verbs that learn and watch


class Team:
    """What a provider has of a project."""

    def __init__(self, provider, folder, work, git, node, forge, address):
        self.provider, self.folder, self.work = provider, folder, work
        self.git, self.node, self.forge, self.registry = git, node, forge, address
        self.origin, self.storage = folder / "promotion_ranker", folder / "storage"
        hosts, programs = folder / "hosts", folder / "bin"
        self.logs = folder / "logs"
        for path in (self.storage, self.logs, hosts, programs):
            path.mkdir()
        (self.logs / "a.jsonl").touch()  # nobody asks this service for anything
        ports = [registry.free_port(), registry.free_port()]
        empty = {"containers": {}, "networks": [], "ports": ports}
        (hosts / "local.json").write_text(json.dumps(empty))
        tools = Path(sys.executable).parent
        cache = os.environ.get("UV_CACHE_DIR", Path.home() / ".cache/uv")
        for name, line in {
            "apt-get": 'case "$1" in update|install) ;; *) exit 1;; esac',
            "docker": f'STUB_FOLDER={hosts} exec {sys.executable} {STUBS / "engine.py"} "$@"',
            "uv": f'UV_CACHE_DIR="{cache}" exec {tools / "uv"} "$@"',
        }.items():
            (programs / name).write_text(f"#!/bin/sh\n{line}\n")
            (programs / name).chmod(0o755)
        path = [part for part in os.environ["PATH"].split(os.pathsep) if part != str(tools)]
        self.env = {"PATH": os.pathsep.join([str(programs), *path])}
        apis = ("BITBUCKET_API_URL", "CI_API_V4_URL", "GITHUB_API_URL")
        self.env["UNTIL"] = TODAY
        self.env["GIT_CONFIG_COUNT"] = str(len(PUSHED))
        for number, page in enumerate(PUSHED):  # with the token, or there is nothing
            self.env[f"GIT_CONFIG_KEY_{number}"] = f"url.file://{self.origin}.insteadOf"
            self.env[f"GIT_CONFIG_VALUE_{number}"] = page
        self.env |= {"PYTEST_XDIST_AUTO_NUM_WORKERS": "0"}  # more cost more than one test takes
        self.env |= dict.fromkeys(apis, forge.url) | {"SYSTEM_COLLECTIONURI": f"{forge.url}/"}

    def commit(self, project: Path, state: Path, branch: str) -> str:
        """Commit a state of the history with this provider's files; the commit."""
        for part in (project, state):
            ignored = shutil.ignore_patterns(".git")
            shutil.copytree(part, self.origin, symlinks=True, dirs_exist_ok=True, ignore=ignored)
        for path in self.origin.glob("src/*/tests/test_*.py"):  # one file stands for all
            if path.name != "test_params.py":
                path.unlink()
        if (state / "dvc.lock").exists():  # who commits it has pushed the data
            known = state.parent / "storage"
            shutil.copytree(known, self.storage, dirs_exist_ok=True, copy_function=add)
        for name, old, new in (
            (".dvc/config", r"(?m)^    url = .*", f"    url = {self.storage}"),
            ("deploy/environments.yaml", "ready_seconds: 60", "ready_seconds: 20"),
            ("deploy/environments.yaml", "keep_days: 14", "keep_days: 0"),
            ("params.yaml", 'logs: "logs/', f'logs: "{self.logs}/'),
        ):
            file = self.origin / name
            file.write_text(re.sub(old, new, file.read_text()))
        if not (self.origin / ".git").exists():
            self.git(self.origin, "init", "--quiet", "--initial-branch=main")
            self.git(self.origin, "config", "uploadpack.allowAnySHA1InWant", "true")
        if branch != "main":
            self.git(self.origin, "checkout", "--quiet", "-b", branch)
        self.git(self.origin, "add", "--all")
        self.git(self.origin, "commit", "--quiet", "--message", f"The {state.name}")
        return self.git(self.origin, "rev-parse", "HEAD")

    def go_on(self, branch: str) -> str:
        """Commit something else to a branch; the commit."""
        self.git(self.origin, "checkout", "--quiet", branch)
        (self.origin / "NEWS.md").write_text("Something else.\n")
        self.git(self.origin, "add", "--all")
        self.git(self.origin, "commit", "--quiet", "--message", "Go on")
        return self.git(self.origin, "rev-parse", "HEAD")

    def merge(self, event: Event) -> None:
        """Make the merge of a pull request, as Azure keeps one for each."""
        clone = self.clone(event.base)
        message = ("--no-ff", "--quiet", "--message", "Merge pull request 7 into main")
        self.git(clone, "merge", *message, event.sha)
        self.git(clone, "push", "--quiet", "--force", "origin", "HEAD:refs/pull/7/merge")
        event.merge = self.git(clone, "rev-parse", "HEAD")

    def clone(self, commit: str) -> Path:
        """A clone at a commit."""
        folder = self.folder / "clones" / str(len(list(self.folder.glob("clones/*"))))
        self.git(self.folder, "clone", "--quiet", "--no-checkout", self.origin, folder)
        self.git(folder, "fetch", "--quiet", "origin", commit)
        self.git(folder, "checkout", "--quiet", "--detach", commit)
        return folder

    def run(self, event: Event, *names: str, broken: str = "") -> dict[str, Result]:
        """Run what an event starts, or jobs of it by name; all end well but the broken one."""
        event.secrets = SECRETS
        registry = {} if self.provider == "gitlab" else {"IMAGE_REGISTRY": self.registry}
        event.variables = event.variables | registry
        if self.provider in ("azure", "github"):
            event.inputs = {name.lower(): value for name, value in event.inputs.items()}
        if self.provider == "azure" and event.kind == "pull_request":
            self.merge(event)
        runs = self.run_gitlab if self.provider == "gitlab" else self.run_planned
        results = {name_of(name): result for name, result in runs(event, *names).items()}
        logs = [result.log for name, result in results.items() if result.code and name != broken]
        assert not logs, "\n".join(logs)
        assert not broken or results[broken].code == 1, results[broken].log
        return results

    def run_planned(self, event: Event, *names: str) -> dict[str, Result]:
        """Run what GitHub's own code, or a subset of another provider's language, plans."""
        commit = event.merge or event.sha
        clone, env = self.clone(commit), dict(self.env)
        more = (self.node,) if self.provider == "github" else ()
        jobs = PLANNERS[self.provider].plan(clone, event, *more)
        if self.provider == "github":
            document = clone.with_suffix(".json")
            document.write_text(json.dumps(github.describe(event)["event"]))
            files = {"EVENT_PATH": document, "STEP_SUMMARY": clone.with_suffix(".md")}
            env |= {f"GITHUB_{name}": str(path) for name, path in files.items()}
        chosen = [job for job in jobs if not names or name_of(job.name) in names]
        for job in chosen if names else ():
            job.needs = []
        return Machine(self.origin, self.folder, self.work, env).run(chosen, commit)

    def run_gitlab(self, event: Event, *names: str) -> dict[str, Result]:
        """Run a pipeline of GitLab, which gitlab-ci-local plans and runs."""
        clone = self.folder / "clone"
        if not clone.exists():
            self.git(self.folder, "clone", "--quiet", self.origin, clone)
            self.git(clone, "config", "remote.origin.url", f"https://{HOME}.git")
            self.git(clone, "remote", "set-head", "origin", "main")
        branch = "change" if event.kind in ("pull_request", "closed") else "main"
        branches = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
        self.git(clone, "fetch", "--quiet", self.origin, *branches)
        self.git(clone, "checkout", "--quiet", "-B", branch, event.sha)
        env = self.env | {"HOME": str(self.folder), "CI_REGISTRY_IMAGE": self.registry}
        names = tuple("build" if name == "image" else name for name in names)
        if event.kind == "closed":
            names = ("review-app-down",)  # which GitLab starts by the environment's `on_stop`
        return gitlab.run(clone, event, self.node, env, *names)

    def serves(self, environment: str, label: str = "revision") -> list[str]:
        """The revisions of an environment's containers, or another label of theirs."""
        world = json.loads((self.folder / "hosts/local.json").read_text())
        labels = [row["labels"] for row in world["containers"].values() if "labels" in row]
        here = [row for row in labels if row.get("delivery.environment") == environment]
        return [row[f"delivery.{label}"] for row in here]


def name_of(job: str) -> str:
    """What the tests call a job."""
    return NAMES.get(job, job.replace("_", "-"))


def add(source: str, target: str) -> None:
    """Copy a file that is not there yet; those of a storage are read-only."""
    if not Path(target).exists():
        shutil.copy2(source, target)
