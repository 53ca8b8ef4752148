"""GitHub Actions: github.mjs decides, by GitHub's own parser and evaluator."""

import json
import subprocess
from pathlib import Path

from . import Cache, Event, Job, Refused, Step

CRONS = {"sweep": "17 3 * * *", "monitor": "47 4 * * *", "retrain": "17 5 * * 1"}
CRONS["template-update"] = "17 4 * * 1"
NAMES = {"tag": "push", "button": "workflow_dispatch", "closed": "pull_request"}


def describe(event: Event) -> dict:
    """The context `github`, and the event's own document in it."""
    head = {"sha": event.sha, "ref": "change"}
    head["repo"] = {"full_name": "them/ranker" if event.fork else "team/ranker", "fork": event.fork}
    change = {"number": 7, "head": head, "base": {"sha": event.base, "ref": "main"}}
    of_change = event.kind in ("pull_request", "closed")
    document = {"action": "closed" if event.kind == "closed" else "opened"}
    if event.kind == "schedule":
        document = {"schedule": CRONS[event.schedule]}
    if of_change:
        document |= {"number": 7, "pull_request": change}
    name = "7/merge" if of_change else event.tag or "main"
    prefix = "refs/pull/" if of_change else "refs/tags/" if event.tag else "refs/heads/"
    return {
        "event": document,
        "event_name": NAMES.get(event.kind, event.kind),
        "base_ref": "main" if of_change else "",
        "ref": prefix + name,
        "ref_name": name,
        "ref_type": "tag" if event.tag else "branch",
        "sha": event.sha,
        "repository": "team/ranker",
        "repository_owner": "team",
        "actor": "ada",
        "server_url": "https://forge.example",
        "run_id": "1",
        "token": "a token for reading" if event.fork else "a token",
    }


def plan(folder: Path, event: Event, node: Path) -> list[Job]:
    """The jobs of all workflows that the event starts."""
    github = describe(event)
    asked = {
        "folder": str(folder),
        "event": github["event_name"],
        "github": github,
        "vars": event.variables,
        "secrets": {} if event.fork else event.secrets,
        "inputs": event.inputs if event.button == "deploy" else {"job": event.button},
        "workflow": "deploy.yml" if event.button == "deploy" else "schedule.yml",
    }
    command = [node / "bin/node", node / "github.mjs"]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True)
    if done.returncode:
        raise Refused(done.stderr)
    answer = json.loads(done.stdout)
    if "errors" in answer:
        raise Refused("\n".join(answer["errors"]))
    return [_job(job, github, event) for job in answer["jobs"]]


def _job(found: dict, github: dict, event: Event) -> Job:
    job = Job(found["name"], found["needs"], depth=None, minutes=found.get("minutes", 0))
    job.runner, job.permissions = found["runner"], found["permissions"]
    limit = found["concurrency"] or ""
    job.exclusive = limit["group"] if isinstance(limit, dict) else limit
    job.env = found["env"] | {
        f"GITHUB_{name.upper()}": value for name, value in github.items() if isinstance(value, str)
    }
    del job.env["GITHUB_TOKEN"]  # a step has it only if it is handed over
    job.env |= {"GITHUB_ACTIONS": "true", "CI": "true"}
    if "id-token" in job.permissions and not event.fork:
        job.env["ACTIONS_ID_TOKEN_REQUEST_URL"] = "http://127.0.0.1:1/token?a=1"  # noqa: S105
    for step in found["steps"]:
        options = step.get("with", {})
        match step.get("uses"):
            case None:
                known = (step["run"], step["env"], step["runs"], step["runsAfterFailure"])
                job.steps.append(Step(*known))
            case "actions/checkout":
                job.depth = int(options.get("fetch-depth", 1))
                job.origin = f"{github['server_url']}/{github['repository']}"
                if options.get("persist-credentials") is not False:
                    raise Refused(f"{job.name}: the checkout leaves its credentials")
                if options.get("ref", github["sha"]) != github["sha"]:
                    raise Refused(f"{job.name}: {options['ref']} is checked out")
            case "actions/cache":
                cache = Cache(options["path"], options["key"], options.get("restore-keys"))
                job.caches.append(cache)
            case "actions/upload-artifact":
                job.artifacts.append(options["path"])
                job.fragile += [] if step["runsAfterFailure"] else [options["path"]]
    return job
