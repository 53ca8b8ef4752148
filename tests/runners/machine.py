"""A machine that runs planned jobs: each in a fresh clone, with a shell and little else."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import Event, Job

SAFE = ("SSL_", "PIP_", "UV_INDEX", "UV_DEFAULT_INDEX", "REQUESTS_", "CURL_", "HTTP", "NO_PROXY")
SAFE += ("http_", "https_", "LANG", "STUB_")


@dataclass
class Result:
    """How a job ended, what it printed, and where its artifacts lie; no code: it was skipped."""

    code: int | None
    log: str
    artifacts: Path


def run(jobs: list[Job], event: Event, origin: Path, folder: Path, env: dict) -> dict[str, Result]:
    """Run jobs in an order that suits their needs; caches of earlier runs are in the folder."""
    results: dict[str, Result] = {}
    waiting = list(jobs)
    while waiting:
        job = next(job for job in waiting if set(job.needs) <= set(results))
        waiting.remove(job)
        if any(results[name].code != 0 for name in job.needs):
            results[job.name] = Result(None, "", folder)
            continue
        place = folder / "jobs" / f"{event.kind}-{job.name}"
        results[job.name] = _run(job, event, origin, place, folder / "caches", env)
    return results


def _run(job: Job, event: Event, origin: Path, place: Path, caches: Path, env: dict) -> Result:
    workspace, temporary = place / "work", place / "tmp"
    temporary.mkdir(parents=True)
    _check_out(job, event, origin, workspace)
    known = {name: value for name, value in os.environ.items() if name.startswith(SAFE)}
    known |= env | {"HOME": str(place), "TMPDIR": str(temporary)}
    known |= {"PIPELINE_WORKSPACE": str(place)}
    known |= {name: str(value) for name, value in job.env.items()}
    for cache in job.caches:
        _restore(cache, workspace, caches)
    code, log = 0, ""
    for step in job.steps:
        if not (step.after_success if code == 0 else step.after_failure):
            continue
        done = subprocess.run(
            ["bash", "-e", "-c", step.script],
            cwd=workspace,
            env=known | {name: str(value) for name, value in step.env.items()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        log += f"$ {step.script}\n{done.stdout}"
        code = code or done.returncode
    if code == 0:
        for cache in job.caches:
            _keep(cache, workspace, caches)
    for path in job.artifacts:
        found = workspace / re.sub(r"/?\**$", "", path)
        if found.exists():
            shutil.copytree(found, place / "artifacts", dirs_exist_ok=True)
    shutil.rmtree(workspace)
    return Result(code, log, place / "artifacts")


def _check_out(job: Job, event: Event, origin: Path, workspace: Path) -> None:
    def git(*words):
        subprocess.run(["git", *map(str, words)], cwd=workspace, check=True, capture_output=True)

    workspace.mkdir()
    if job.depth is None:
        return
    git("init", "--quiet")
    git("remote", "add", "origin", f"file://{origin}")
    if job.depth:
        git("fetch", "--quiet", "--depth", job.depth, "origin", event.sha)
    else:
        branches = "+refs/heads/*:refs/remotes/origin/*"
        git("fetch", "--quiet", "origin", branches, "+refs/tags/*:refs/tags/*")
    git("checkout", "--quiet", "--detach", event.sha)


def _restore(cache, workspace: Path, caches: Path) -> None:
    """Bring the folder of this key, or the newest of those that begin like it."""
    if cache.path.endswith("uv"):
        return  # libraries are those of this machine
    found = [caches / _name(cache.key)]
    if cache.fallback is not None:
        found += sorted(caches.glob(f"{_name(cache.fallback)}*"), key=lambda p: -p.stat().st_mtime)
    for path in found:
        if path.exists():
            shutil.copytree(path, workspace / cache.path, symlinks=True)
            return


def _keep(cache, workspace: Path, caches: Path) -> None:
    path = caches / _name(cache.key)
    if (workspace / cache.path).exists() and not path.exists() and not cache.path.endswith("uv"):
        shutil.copytree(workspace / cache.path, path, symlinks=True)


def _name(key: str) -> str:
    return re.sub(r"[^\w.-]", "_", key)
