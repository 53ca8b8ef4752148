"""Azure Pipelines: the subset of its language that the file uses; anything else is refused."""

import re
from pathlib import Path
from typing import Any

import yaml

from . import Cache, Event, Job, Refused, Step, fingerprint
from .conditions import holds

REASONS = {
    "pull_request": "PullRequest",
    "push": "IndividualCI",
    "tag": "IndividualCI",
    "button": "Manual",
    "schedule": "Schedule",
}
ROOT = {"trigger", "pr", "schedules", "parameters", "variables", "pool", "stages"}
STAGE = {"stage", "dependsOn", "condition", "lockBehavior", "jobs"}
JOB = {"job", "deployment", "dependsOn", "condition", "timeoutInMinutes", "pool", "variables"}
JOB |= {"steps", "environment", "strategy"}
STEP = {"checkout", "fetchDepth", "fetchTags", "task", "inputs", "displayName", "script", "env"}
STEP |= {"template", "parameters", "publish", "artifact", "condition"}


def plan(folder: Path, event: Event) -> list[Job]:
    """The jobs that an event starts."""
    file = yaml.safe_load((folder / "azure-pipelines.yml").read_text())
    _only(ROOT, file, "azure-pipelines.yml")
    if event.kind == "closed" or not _starts(file, event):
        return []
    given = {row["name"]: row["default"] for row in file["parameters"]}
    for row in file["parameters"]:
        chosen = {"verb": event.button} | event.inputs if event.kind == "button" else {}
        value = chosen.get(row["name"], row["default"])
        if value not in row.get("values", [value]):
            raise Refused(f"{value} is no {row['name']}")
        given[row["name"]] = value
    variables = file["variables"] | event.variables | _predefined(event)
    jobs = []
    for stage in file["stages"]:
        _only(STAGE, stage, stage["stage"])
        if stage.get("dependsOn", [] if stage is file["stages"][0] else None) != []:
            raise Refused(f"{stage['stage']}: stages that wait are not known here")
        if holds(_fill(stage.get("condition", "succeeded()"), given), variables):
            jobs += _jobs(stage["jobs"], file, folder, given, variables, event)
    return jobs


def _starts(file: dict, event: Event) -> bool:
    if event.kind == "pull_request":
        return "main" in file["pr"]["branches"]["include"]
    if event.kind == "tag":
        globs = file["trigger"].get("tags", {}).get("include", [])
        return any(re.fullmatch(glob.replace("*", ".*"), event.tag) for glob in globs)
    if event.kind == "push":
        return "main" in file["trigger"]["branches"]["include"]
    return event.kind == "button" or any(row["cron"] for row in file.get("schedules", []))


def _predefined(event: Event) -> dict[str, str]:
    ref = f"refs/tags/{event.tag}" if event.tag else "refs/heads/main"
    known = {
        "Agent.OS": "Linux",
        "Build.Reason": REASONS[event.kind],
        "Build.SourceBranch": ref,
        "Build.SourceBranchName": event.tag or "main",
        "Build.SourceVersion": event.merge or event.sha,
        "Build.Repository.Name": "ranker",
        "Build.BuildId": "1",
        "System.CollectionUri": "https://forge.example/team/",
        "System.TeamProject": "The team",
        "System.AccessToken": "a token",
        "TF_BUILD": "True",
    }
    if event.kind == "schedule":
        known["Build.CronSchedule.DisplayName"] = event.schedule
    if event.kind == "pull_request":
        known |= {
            "Build.SourceBranch": "refs/pull/7/merge",
            "System.PullRequest.PullRequestId": "7",
            "System.PullRequest.SourceBranch": "refs/heads/change",
            "System.PullRequest.SourceCommitId": event.sha,
            "System.PullRequest.TargetBranch": "refs/heads/main",
            "System.PullRequest.IsFork": str(event.fork),
        }
    return known


def _jobs(rows, file, folder, given, variables, event) -> list[Job]:
    jobs, left = [], set()
    for row in rows:
        _only(JOB, row, "job")
        name = row.get("job") or row["deployment"]
        needs = row.get("dependsOn", [])
        needs = [needs] if isinstance(needs, str) else needs
        known = {other.get("job") for other in rows}
        if unknown := set(needs) - known:
            raise Refused(f"{name} waits for {unknown}, which is no job")
        if left & set(needs) or not holds(
            _fill(row.get("condition", "succeeded()"), given), variables
        ):
            left.add(name)
            continue
        own = variables | _fill(row.get("variables", {}), given)
        job = Job(name, needs, depth=None, minutes=int(row.get("timeoutInMinutes", 0)))
        pool = _fill(row.get("pool", file["pool"]), given)
        job.runner = pool.get("name", pool["vmImage"])
        job.exclusive = _fill(row.get("environment", ""), given)
        job.env = {n.upper().replace(".", "_"): _macros(v, own, {}) for n, v in own.items()}
        del job.env["SYSTEM_ACCESSTOKEN"]  # a step has it only if it is handed over
        job.env.pop("SYSTEM_ACCESS_TOKEN", None)
        steps = row.get("steps") or row["strategy"]["runOnce"]["deploy"]["steps"]
        secrets = {} if event.fork else event.secrets
        for step in _expand(steps, folder, given):
            _step(job, step, own, secrets, folder)
        jobs.append(job)
    return jobs


def _expand(steps: list, folder: Path, given: dict) -> list[dict]:
    found = []
    for step in steps:
        ((first, inner), *_) = step.items()
        if loop := re.fullmatch(r"\$\{\{ each (\w+) in parameters\.(\w+) \}\}", first):
            for item in given[loop[2]]:
                found += _expand(inner, folder, given | {loop[1]: item})
        elif first == "template":
            _only(STEP, step, "step")
            template = yaml.safe_load((folder / step["template"]).read_text())
            _only({"parameters", "steps"}, template, step["template"])
            asked = {row["name"] for row in template["parameters"]}
            if asked != set(step["parameters"]):
                raise Refused(f"{step['template']} wants the parameters {asked}")
            found += _expand(template["steps"], folder, given | step["parameters"])
        else:
            _only(STEP, step, "step")
            found.append(_fill(step, given))
    return found


def _step(job: Job, step: dict, variables: dict, secrets: dict, folder: Path) -> None:
    after_failure = step.get("condition") == "succeededOrFailed()"
    if step.get("condition", "succeeded()") not in ("succeeded()", "succeededOrFailed()"):
        raise Refused(f"condition {step['condition']} of a step is not known here")
    match step:
        case {"checkout": "self"}:
            job.depth = int(step.get("fetchDepth", 1))
        case {"script": script}:
            env = {n: _macros(v, variables, secrets) for n, v in step.get("env", {}).items()}
            job.steps.append(Step(_macros(script, variables, {}), env, True, after_failure))
        case {"task": "Cache@2", "inputs": {"key": key, "path": path, **rest}}:
            _only({"restoreKeys"}, rest, "Cache@2")
            key = _key(_macros(key, variables, {}), folder)
            job.caches.append(Cache(path, key, rest.get("restoreKeys")))
        case {"publish": path, "artifact": _}:
            job.artifacts.append(path)
            job.fragile += [] if after_failure else [path]
        case _:
            raise Refused(f"step {step} is not known here")


def _key(key: str, folder: Path) -> str:
    """A cache's key with its files hashed; like Azure, refuse one that names no file."""
    parts = key.split(" | ")
    for place, part in enumerate(parts):
        if re.search(r"[./*]", part) and not part.startswith('"'):
            if not (digest := fingerprint(folder, part)):
                raise Refused(f"the key of a cache names {part}, and there is no such file")
            parts[place] = f"{part} {digest}"
    return " | ".join(parts)


def _fill(value: Any, given: dict) -> Any:
    """Replace `${{ … }}` by what is given when the run is planned."""
    if isinstance(value, dict):
        return {key: _fill(item, given) for key, item in value.items()}
    if not isinstance(value, str):
        return value

    def find(match):
        name = match[1].removeprefix("parameters.")
        if name not in given:
            raise Refused(f"{match[0]} is not known here")
        return given[name]

    return re.sub(r"\$\{\{\s*([\w.]+)\s*\}\}", find, value)


def _macros(text: str, variables: dict, secrets: dict) -> str:
    """Replace `$(name)`; like Azure, leave one that is not set as it stands."""
    known = {name.lower(): value for name, value in (variables | secrets).items()}
    known["pipeline.workspace"] = "/agent/1"
    return re.sub(r"\$\(([\w.]+)\)", lambda m: known.get(m[1].lower(), m[0]), str(text))


def _only(known: set, found: dict, place: str) -> None:
    if unknown := set(found) - known:
        raise Refused(f"{place}: {', '.join(sorted(map(str, unknown)))} is not known here")
