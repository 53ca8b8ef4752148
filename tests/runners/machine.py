"""A machine that runs planned jobs: each in a fresh clone, with a shell and little else."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import Cache, Job

# what a network may need
SAFE = ("SSL_", "PIP_", "UV_INDEX", "UV_DEFAULT_INDEX", "REQUESTS_", "CURL_", "HTTP", "NO_PROXY")
SAFE += ("http_", "https_", "LANG")


@dataclass
class Result:
    """How a job ended, what it printed, and where its artifacts lie; no code: it was skipped."""

    code: int | None
    log: str
    artifacts: Path


@dataclass
class Machine:
    """Where jobs run.

    Attributes:
        origin: the repository.
        folder: for what jobs leave, and for the caches that outlive them.
        work: for the workspace, at one path for all jobs, and for the byte code made there.
        env: what each job has, whatever its own variables are.
    """

    origin: Path
    folder: Path
    work: Path
    env: dict[str, str]

    def run(self, jobs: list[Job], commit: str) -> dict[str, Result]:
        """Run jobs in an order that suits their needs, as far as what they need succeeds."""
        results: dict[str, Result] = {}
        waiting = list(jobs)
        while waiting:
            job = next(job for job in waiting if set(job.needs) <= set(results))
            waiting.remove(job)
            if any(results[name].code != 0 for name in job.needs):
                results[job.name] = Result(None, "", self.folder)
            else:
                results[job.name] = self._run(job, commit)
        return results

    def _run(self, job: Job, commit: str) -> Result:
        place = self.folder / "jobs" / f"{len(list(self.folder.glob('jobs/*')))}-{job.name}"
        workspace, temporary = self.work / "space", place / "tmp"
        shutil.rmtree(workspace, ignore_errors=True)  # of a job that was broken off
        for path in (workspace, temporary, place / "artifacts"):
            path.mkdir(parents=True)
        self._check_out(job, commit, workspace)
        env = {name: value for name, value in os.environ.items() if name.startswith(SAFE)}
        env |= {name: str(value) for name, value in job.env.items()}
        env |= self.env | {"HOME": str(place), "TMPDIR": str(temporary)}
        env |= {"PYTHONPYCACHEPREFIX": str(self.work / "pyc")}
        for cache in job.caches:
            self._restore(cache, workspace)
        code, log = _run_steps(job, workspace, env)
        for cache in job.caches if code == 0 else ():
            self._keep(cache, workspace)
        for path in set(job.artifacts) - set(job.fragile if code else ()):
            found = workspace / re.sub(r"/?\**$", "", path)
            if found.is_dir():
                shutil.copytree(found, place / "artifacts", dirs_exist_ok=True)
            elif found.exists():
                shutil.copy(found, place / "artifacts")
        shutil.rmtree(workspace)
        return Result(code, f"{job.name}\n{log}", place / "artifacts")

    def _check_out(self, job: Job, commit: str, workspace: Path) -> None:
        def git(*words):
            subprocess.run(["git", *map(str, words)], cwd=workspace, check=True)

        if job.depth is None:
            return
        git("init", "--quiet")
        git("remote", "add", "origin", f"file://{self.origin}")
        if job.depth == 0:
            branches = "+refs/heads/*:refs/remotes/origin/*"
            git("fetch", "--quiet", "origin", branches, "+refs/tags/*:refs/tags/*")
        depth = ("--depth", job.depth) if job.depth else ()
        git("fetch", "--quiet", *depth, "origin", commit)
        git("checkout", "--quiet", "--detach", commit)
        if job.merges:
            who = ("-c", "user.name=machine", "-c", "user.email=machine@localhost")
            git(*who, "merge", "--quiet", "--no-edit", job.merges)
        if job.origin:
            git("remote", "set-url", "origin", job.origin)

    def _restore(self, cache: Cache, workspace: Path) -> None:
        """Bring the folder of this key, or the newest of those that begin like it."""
        if cache.path.endswith("uv"):
            return  # libraries are those of this machine
        found = [self.folder / "caches" / _name(cache.key)]
        if cache.fallback is not None:
            like = (self.folder / "caches").glob(f"{_name(cache.fallback)}*")
            found += sorted(like, key=lambda path: -path.stat().st_mtime)
        for path in found:
            if path.exists():
                shutil.copytree(path, workspace / cache.path, symlinks=True)
                return

    def _keep(self, cache: Cache, workspace: Path) -> None:
        path = self.folder / "caches" / _name(cache.key)
        if (workspace / cache.path).exists() and not (path.exists() or cache.path.endswith("uv")):
            shutil.copytree(workspace / cache.path, path, symlinks=True)


def _name(key: str) -> str:
    return re.sub(r"[^\w.-]", "_", key)


def _run_steps(job: Job, workspace: Path, env: dict[str, str]) -> tuple[int, str]:
    code, log = 0, ""
    for step in job.steps:
        if not (step.after_success if code == 0 else step.after_failure):
            continue
        done = subprocess.run(
            ["bash", "-e", "-c", step.script],
            cwd=workspace,
            env=env | {name: str(value) for name, value in step.env.items()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        log += f"$ {step.script}\n{done.stdout}"
        code = code or done.returncode
    return code, log
