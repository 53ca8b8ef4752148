"""GitLab CI: gitlab-ci-local decides and runs, without Docker."""

import json
import os
import re
import subprocess
from pathlib import Path

import yaml

from . import Cache, Event, Job, Refused, Step
from .machine import Result

SOURCES = {"pull_request": "merge_request_event", "button": "web", "tag": "push"}


def variables(event: Event) -> dict[str, str]:
    """What GitLab predefines and gitlab-ci-local does not, and what the project has set."""
    known = {
        "CI_PIPELINE_SOURCE": SOURCES.get(event.kind, event.kind),
        "CI_PROJECT_ID": "1",
        "CI_PROJECT_PATH": "team/ranker",
        "CI_PROJECT_URL": "https://forge.example/team/ranker",
        "CI_PIPELINE_URL": "https://forge.example/team/ranker/-/pipelines/1",
        "GITLAB_CI": "true",
    }
    if event.kind in ("button", "schedule"):  # a schedule has it among its variables
        known["VERB"] = event.button if event.kind == "button" else event.schedule
    if event.tag:
        known["CI_COMMIT_TAG"] = event.tag
    if event.kind in ("pull_request", "closed"):
        known |= {
            "CI_PIPELINE_SOURCE": "merge_request_event",
            "CI_MERGE_REQUEST_IID": "7",
            "CI_MERGE_REQUEST_PROJECT_ID": "1",
            "CI_MERGE_REQUEST_PROJECT_PATH": "team/ranker",
            "CI_MERGE_REQUEST_PROJECT_URL": "https://forge.example/team/ranker",
            "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "2" if event.fork else "1",
            "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "change",
            "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
            "CI_MERGE_REQUEST_DIFF_BASE_SHA": event.base,
        }
    return known | event.variables | event.inputs | ({} if event.fork else event.secrets)


def call(folder: Path, event: Event, node: Path, *words: str) -> str:
    """What gitlab-ci-local prints."""
    known = variables(event)
    options = [part for name, value in known.items() for part in ("--variable", f"{name}={value}")]
    program = (node / "node_modules/.bin/gitlab-ci-local").resolve()
    command = [node / "bin/node", program, *words, *options]
    env = os.environ | {"GCL_IGNORE_PREDEFINED_VARS": ",".join(known)}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    if done.returncode:
        raise Refused(done.stdout + done.stderr)
    return done.stdout


def plan(folder: Path, event: Event, node: Path) -> list[Job]:
    """The jobs of the pipeline that the event starts."""
    if not _starts(folder, event):
        return []
    listed = json.loads(call(folder, event, node, "--list-json"))
    text = call(folder, event, node, "--preview")
    file = yaml.safe_load(text)
    # the preview keeps less of `default` than GitLab does
    file["default"] = yaml.safe_load((folder / ".gitlab-ci.yml").read_text())["default"]
    file["variables"] |= variables(event)
    jobs = []
    for row in listed:
        if row["when"] != ("manual" if event.kind == "closed" else "on_success"):
            continue  # what runs on closing waits as a manual job until then
        jobs.append(_job(row, file[row["name"]], file))
    return jobs


def _starts(folder: Path, event: Event) -> bool:
    """Decide `workflow:rules`, which gitlab-ci-local leaves alone: only equality of a variable."""
    file = yaml.safe_load((folder / ".gitlab-ci.yml").read_text())
    known = {"CI_DEFAULT_BRANCH": "main"} | variables(event)
    if event.kind == "push":
        known["CI_COMMIT_BRANCH"] = "main"

    def term(text):
        match = re.fullmatch(r'\$(\w+)(?: == (?:"([^"]*)"|\$(\w+)))?', text.strip())
        if not match:
            raise Refused(f"{text} is not known here")
        name, literal, other = match.groups()
        if literal is None and other is None:
            return bool(known.get(name))
        return known.get(name) == (known.get(other) if other else literal)

    for rule in file["workflow"]["rules"]:
        if set(rule) != {"if"}:
            raise Refused(f"{rule} is not known here")
        for part in rule["if"].split("||"):
            if all(term(text) for text in part.split("&&")):
                return True
    return False


def _job(row: dict, found: dict, file: dict) -> Job:
    needs = [need["job"] if isinstance(need, dict) else need for need in row.get("needs") or []]
    job = Job(row["name"], needs, manual=row["when"] == "manual")
    job.env = {n: v["value"] if isinstance(v, dict) else v for n, v in file["variables"].items()}
    default = file["default"]
    fallbacks = {
        path: row.get("fallback_keys") for row in default["cache"] for path in row["paths"]
    }
    job.depth = int(job.env.get("GIT_DEPTH", 20))
    job.runner = " ".join(found.get("tags", []))
    minutes = str(found.get("timeout", default.get("timeout", "0m")))
    job.minutes = int(minutes[:-1]) * (60 if minutes.endswith("h") else 1)
    job.exclusive = found.get("resource_group", "")
    job.permissions = {"id-token": "write"} if "id_tokens" in found else {}
    for cache in found.get("cache", default.get("cache", [])):
        for path in cache["paths"]:
            fallback = (fallbacks.get(path) or [None])[0]
            job.caches.append(Cache(path, json.dumps(cache["key"]), fallback))
    job.artifacts = found.get("artifacts", {}).get("paths", [])
    lines = found.get("before_script", default.get("before_script", [])) + found["script"]
    job.steps = [Step(line) for line in lines]
    return job


def run(
    folder: Path, event: Event, node: Path, env: dict[str, str], *names: str
) -> dict[str, Result]:
    """Run the pipeline, or jobs by name, each in a copy of what git tracks."""
    known = variables(event) | env
    options = [part for name, value in known.items() for part in ("--variable", f"{name}={value}")]
    program = (node / "node_modules/.bin/gitlab-ci-local").resolve()
    alone = ("--force-shell-executor", "--shell-isolation", "--concurrency", "1")
    done = subprocess.run(
        [node / "bin/node", program, *names, *alone, *options],
        cwd=folder,
        env=os.environ | env | {"GCL_IGNORE_PREDEFINED_VARS": ",".join(known)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    ended = re.findall(r"^ (PASS|FAIL|WARN)  ([\w-]+)", done.stdout, re.M)
    if not ended or (done.returncode and all(end == "PASS" for end, _ in ended)):
        raise Refused(done.stdout)
    kept = folder / ".gitlab-ci-local"
    logs = {name: (kept / "output" / f"{name}.log").read_text() for _, name in ended}
    return {
        name: Result(int(end != "PASS"), f"{name}\n{logs[name]}", kept / "artifacts" / name)
        for end, name in ended
    }
