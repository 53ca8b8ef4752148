"""Bitbucket Pipelines: no expressions, so little is to be decided; an unknown key is refused."""

import fnmatch
import subprocess
from pathlib import Path

import yaml

from . import Cache, Event, Job, Refused, Step, fingerprint

ROOT = {"image", "clone", "definitions", "pipelines"}
STEP = {"name", "oidc", "size", "max-time", "caches", "services", "script", "condition"}
STEP |= {"artifacts"}


def plan(folder: Path, event: Event) -> list[Job]:
    """The steps that an event starts, each as a job."""
    file = yaml.safe_load((folder / "bitbucket-pipelines.yml").read_text())
    _only(ROOT, file, "bitbucket-pipelines.yml")
    _only({"caches", "steps"}, file["definitions"], "definitions")
    _only({"pull-requests", "branches", "tags", "custom"}, file["pipelines"], "pipelines")
    if event.kind == "closed" or event.fork:  # runs in the fork, if at all
        return []
    env = event.variables | event.secrets | event.inputs | _predefined(event)
    jobs, before = [], []
    for row in _pipeline(file["pipelines"], event):
        if "variables" in row:
            _choose(row["variables"], event, env)
            continue
        rows = row.get("parallel", [row])
        _only({"parallel", "step"}, row, "pipeline")
        wanted = [item["step"] for item in rows if _wanted(item, event)]
        here = [_job(step, file, env, before, folder) for step in wanted]
        for job in here if event.kind == "pull_request" else ():
            job.merges = event.base  # on each machine anew
        jobs += [job for job in here if not _leaves(job)]
        before = [job.name for job in here]
    return jobs


def _pipeline(pipelines: dict, event: Event) -> list[dict]:
    if event.kind in ("button", "schedule"):
        return pipelines["custom"][event.button if event.kind == "button" else event.schedule]
    name = {"pull_request": "change", "tag": event.tag}.get(event.kind, "main")
    kind = {"pull_request": "pull-requests", "tag": "tags"}.get(event.kind, "branches")
    globs = pipelines.get(kind, {})
    return next((rows for glob, rows in globs.items() if fnmatch.fnmatch(name, glob)), [])


def _choose(rows: list[dict], event: Event, env: dict) -> None:
    for row in rows:
        _only({"name", "default", "description", "allowed-values"}, row, "variables")
        value = event.inputs.get(row["name"], row["default"])
        if value not in row.get("allowed-values", [value]):
            raise Refused(f"{value} is no {row['name']}")
        env[row["name"]] = value


def _predefined(event: Event) -> dict[str, str]:
    known = {
        "CI": "true",
        "BITBUCKET_BUILD_NUMBER": "1",
        "BITBUCKET_COMMIT": event.sha,
        "BITBUCKET_REPO_FULL_NAME": "team/ranker",
        "BITBUCKET_REPO_SLUG": "ranker",
        "BITBUCKET_WORKSPACE": "team",
        "BITBUCKET_GIT_HTTP_ORIGIN": "https://forge.example/team/ranker",
        "BITBUCKET_BRANCH": "main",
    }
    if event.kind == "pull_request":
        known |= {"BITBUCKET_BRANCH": "change", "BITBUCKET_PR_ID": "7"}
        known |= {"BITBUCKET_PR_DESTINATION_BRANCH": "main"}
        known |= {"BITBUCKET_PR_DESTINATION_COMMIT": event.base}
    if event.tag:
        del known["BITBUCKET_BRANCH"]
        known["BITBUCKET_TAG"] = event.tag
    return known


def _wanted(item: dict, event: Event) -> bool:
    _only({"step"}, item, "pipeline")
    condition = item["step"].get("condition")
    if condition is None:
        return True
    if condition != {"changesets": {"includePaths": ["**/*.ipynb"]}}:
        raise Refused(f"condition {condition} is not known here")
    return event.notebooks


def _job(step: dict, file: dict, env: dict, before: list[str], folder: Path) -> Job:
    _only(STEP, step, step["name"])
    if not step.get("script"):
        raise Refused(f"{step['name']} has no script")
    job = Job(step["name"], before, env=dict(env), minutes=step.get("max-time", 0))
    job.depth = 0 if file.get("clone", {}).get("depth") == "full" else 50
    job.runner = step.get("size", "1x")
    job.permissions = {"id-token": "write"} if step.get("oidc") else {}
    if step.get("oidc"):
        job.env["BITBUCKET_STEP_OIDC_TOKEN"] = "a token"  # noqa: S105
    for service in step.get("services", []):
        if service != "docker":
            raise Refused(f"service {service} is not known here")
    for name in step.get("caches", []):
        if name not in file["definitions"]["caches"]:
            raise Refused(f"{step['name']}: there is no cache {name}")
        known = file["definitions"]["caches"][name]
        files = [f"{each} {fingerprint(folder, each)}" for each in known["key"]["files"]]
        job.caches.append(Cache(known["path"], " ".join([name, *files])))
    job.artifacts = step.get("artifacts", [])
    job.steps = [Step("\n".join(step["script"]))]
    return job


def _leaves(job: Job) -> bool:
    """Whether the first line of a step ends it, as it does where a variable is not set."""
    line = job.steps[0].script.split("\n")[0]
    if not line.startswith("test "):
        return False
    command = ["bash", "-c", f"{line}\nexit 3"]
    return subprocess.run(command, env=job.env, check=False).returncode == 0


def _only(known: set, found: dict, place: str) -> None:
    if unknown := set(found) - known:
        raise Refused(f"{place}: {', '.join(sorted(map(str, unknown)))} is not known here")
