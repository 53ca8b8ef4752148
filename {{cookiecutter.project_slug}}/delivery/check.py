"""What a commit must hold so that others can reproduce it; it needs no data, and seconds.

Lint, types and tests are `make check`.
"""

import copy
import subprocess
from collections.abc import Iterator
from pathlib import Path

import nbformat
from dvc.dependency import ParamsDependency
from dvc.exceptions import DvcException
from dvc.repo import Repo
from nbstripout import strip_output

from .git import git
from .repository import is_shared, open_quietly, sentence

CONFLICT = r'^( *")?(<{7}|>{7}|\|{7}) '  # with a quote: in a cell of a notebook


def check(arguments: list[str]) -> int:
    """Find what would keep others from reproducing this commit."""
    findings = [*find_conflicts(), *find_outputs_in_notebooks()]
    try:
        with open_quietly() as repo:
            findings += find_odd_dependencies(repo)
            findings += find_stale_stages(repo)
            findings += find_unpushed_data(repo)
    except DvcException as error:  # dvc.yaml, dvc.lock or .dvc/config cannot be read
        findings.append(sentence(error))
    for finding in findings:
        print(finding)
    if not Path("dvc.lock").exists():
        print("nothing was reproduced yet: `make reproduce`, then commit dvc.lock and reports/")
    return 1 if findings else 0


def find_conflicts() -> Iterator[str]:
    """Merges that were not finished."""
    unmerged = {line.partition("\t")[2] for line in git("ls-files", "--unmerged").splitlines()}
    found = subprocess.run(
        ["git", "grep", "--cached", "-I", "-l", "-E", CONFLICT], capture_output=True, text=True
    )
    for name in sorted(unmerged | set(found.stdout.splitlines())):
        yield f"{name} holds a conflict: resolve it, for dvc.lock by `make reproduce`"
    for name in git("ls-files", "*.rej").splitlines():
        yield f"{name} is what a patch could not do: do it by hand, then remove the file"


def find_outputs_in_notebooks() -> Iterator[str]:
    """Notebooks that were committed with what they printed."""
    for name in git("ls-files", "*.ipynb").splitlines():
        try:
            notebook = nbformat.reads(git("show", f":./{name}"), as_version=nbformat.NO_CONVERT)
            stripped = strip_output(
                copy.deepcopy(notebook), keep_output=False, keep_count=False, keep_id=True
            )
        except Exception as error:  # each version of the format fails in its own way
            yield f"{name} cannot be read as a notebook: {sentence(error)}"
            continue
        mend = f"`make setup`, then `git add --renormalize {name}`"
        if stripped != notebook:
            yield f"{name} holds outputs: {mend}"
        elif not is_filtered(name):  # to git it is changed wherever the filter is on
            yield f"{name} was committed past git's filter: {mend}"


def is_filtered(name: str) -> bool:
    """Whether the filter of this clone, if it has one, writes a file as it was committed."""
    blob = git("rev-parse", f":./{name}")
    content = subprocess.run(["git", "cat-file", "blob", blob], capture_output=True).stdout
    words = ["git", "hash-object", "--stdin", "--path", name]
    return subprocess.run(words, input=content, capture_output=True).stdout.decode().strip() == blob


def find_odd_dependencies(repo: Repo) -> Iterator[str]:
    """Dependencies whose change DVC cannot see without the data."""
    outs = {place(repo, out.fs_path) for out in repo.index.outs if out.is_in_repo}
    tracked = set(git("ls-files").splitlines())
    tracked |= {folder.as_posix() for name in tracked for folder in Path(name).parents}
    for stage in repo.index.stages:
        where = f"stage {stage.addressing} depends on"
        for dep in stage.deps:
            if isinstance(dep, ParamsDependency) or not dep.is_in_repo:
                continue
            name = place(repo, dep.fs_path)
            around = [out for out in outs if name.startswith(f"{out}/")]
            inside = [out for out in outs if out.startswith(f"{name}/")]
            if around:
                yield f"{where} {name}: name the whole output, {around[0]}"
            elif inside:
                yield f"{where} {name}: name the output in it, {inside[0]}"
            elif name not in outs | tracked:
                yield f"{where} {name}, which neither git nor DVC holds"


def find_stale_stages(repo: Repo) -> Iterator[str]:
    """Stages whose command, parameters or dependencies are not those of dvc.lock."""
    stages = repo.index.stages if Path("dvc.lock").exists() else []
    with repo.lock:  # what is missing counts as unchanged, where dvc.lock is of one mind about it
        stale = [stage.addressing for stage in stages if stage.changed(True, stages)]
    if stale:
        names = ", ".join(stale)
        yield f"dvc.lock is not of this commit ({names}): `make reproduce`, commit it and reports/"


def find_unpushed_data(repo: Repo) -> Iterator[str]:
    """Outputs that dvc.lock names and the storage does not have."""
    if not Path("dvc.lock").exists() or not is_shared(repo):
        return
    try:
        status = repo.data_status(not_in_remote=True, remote_refresh=True)
    except Exception as error:  # each storage fails in its own way
        yield f"the storage cannot be read, see `make doctor`: {sentence(error)}"
        return
    for name in status["not_in_remote"]:
        yield f"{name.rstrip('/')} is not in the storage: `dvc push`"


def place(repo: Repo, path: str) -> str:
    """A path as dvc.yaml and git write it."""
    return Path(path).relative_to(repo.root_dir).as_posix()
