"""A team at a provider: its repository, API, registry, storage and host, on loopback."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import registry
from forges import GitHub, GitLab
from runners import Event, github, gitlab
from runners.machine import Machine, Result

STUBS = Path(__file__).with_name("stubs")
TOKEN = "a token"  # noqa: S105
FORGES = {
    "github": lambda: GitHub(("Authorization", f"Bearer {TOKEN}")),
    "gitlab": lambda: GitLab(("PRIVATE-TOKEN", TOKEN)),
}
SECRETS = {"REGISTRY_PASSWORD": "p", "CI_REGISTRY_USER": "ci", "CI_REGISTRY_PASSWORD": "p"}
SECRETS |= {"GITLAB_TOKEN": TOKEN}


class Team:
    """What a provider has of a project."""

    def __init__(self, provider, folder, git, node, forge, address):
        self.provider, self.folder, self.git, self.node = provider, folder, git, node
        self.forge, self.registry = forge, address
        self.origin, self.storage = folder / "promotion_ranker", folder / "storage"
        hosts, programs = folder / "hosts", folder / "bin"
        for path in (self.storage, hosts, programs):
            path.mkdir()
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
        self.env |= {"GITHUB_API_URL": forge.url, "CI_API_V4_URL": forge.url}

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

    def run_github(self, event: Event) -> dict[str, Result]:
        """Run what an event starts at GitHub; the jobs by name, all of them successful."""
        event.secrets = SECRETS
        event.variables = event.variables | {"IMAGE_REGISTRY": self.registry}
        clone = self.folder / "clones" / event.kind
        self.git(self.folder, "clone", "--quiet", "--no-checkout", self.origin, clone)
        self.git(clone, "checkout", "--quiet", "--detach", event.sha)
        jobs = github.plan(clone, event, self.node)
        document = clone.with_suffix(".json")
        document.write_text(json.dumps(github.describe(event)["event"]))
        files = {"EVENT_PATH": document, "STEP_SUMMARY": clone.with_suffix(".md")}
        env = self.env | {f"GITHUB_{name}": str(path) for name, path in files.items()}
        results = Machine(self.origin, self.folder, env).run(jobs, event.sha)
        broken = [result.log for result in results.values() if result.code != 0]
        assert not broken, "\n".join(broken)
        return results

    def run_gitlab(self, event: Event, *names: str) -> set[str]:
        """Run a pipeline of GitLab, or jobs of it by name; the names of those that passed."""
        event.secrets = SECRETS
        clone = self.folder / "clone"
        if not clone.exists():
            self.git(self.folder, "clone", "--quiet", self.origin, clone)
            self.git(clone, "config", "remote.origin.url", "https://forge.example/team/ranker.git")
            self.git(clone, "remote", "set-head", "origin", "main")
        branch = "change" if event.kind == "pull_request" else "main"
        self.git(clone, "fetch", "--quiet", self.origin, "+refs/heads/*:refs/remotes/origin/*")
        self.git(clone, "checkout", "--quiet", "-B", branch, event.sha)
        env = self.env | {"HOME": str(self.folder), "CI_REGISTRY_IMAGE": self.registry}
        log = gitlab.run(clone, event, self.node, env, *names)
        return set(re.findall(r"PASS.*?([\w-]+)\s*$", log, re.M))

    def serves(self, environment: str) -> list[str]:
        """The revisions of an environment's containers."""
        world = json.loads((self.folder / "hosts/local.json").read_text())
        labels = [row["labels"] for row in world["containers"].values() if "labels" in row]
        here = [row for row in labels if row.get("delivery.environment") == environment]
        return [row["delivery.revision"] for row in here]


def add(source: str, target: str) -> None:
    """Copy a file that is not there yet; those of a storage are read-only."""
    if not Path(target).exists():
        shutil.copy2(source, target)
