"""Merge the difference of two renders of the template into this project, as git merges."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import DeliveryError
from .git import git
from .template import PLAIN, Moves, find_uv

STATE = ".cruft.json"
# commits that nobody keeps, made on machines that may know no name
NOBODY = {
    f"GIT_{role}_{part}": value
    for role in ("AUTHOR", "COMMITTER")
    for part, value in (("NAME", "cd4ml-template"), ("EMAIL", "cd4ml-template@localhost"))
}
# by the stages that git keeps of a path: 1 before, 2 here, 3 in the template
CONFLICTS = {
    "12": "changed here, removed by the template",
    "23": "added here and by the template",
    "123": "changed here and by the template",
}
REMOVED_HERE = "13"


def write_commit(before: Path, after: Path, moves: Moves, skipped: list[str], title: str) -> str:
    """Write two renders into this repository; the commit that leads from one to the other.

    Raises:
        DeliveryError: it would overwrite a file that git does not have.
    """
    for source, target in moves:
        if (before / source).is_file():
            (before / target).parent.mkdir(parents=True, exist_ok=True)
            (before / source).rename(before / target)
    for render in (before, after):
        _remove(render, [STATE, *skipped])
    trees = _write_tree(before), _write_tree(after)
    _refuse_overwriting(*trees)
    old = git("commit-tree", trees[0], "-m", "The template as it was", env=NOBODY)
    return git("commit-tree", trees[1], "-m", title, "-p", old, env=NOBODY)


def _remove(render: Path, globs: list[str]) -> None:
    for path in [path for glob in globs for path in render.glob(glob)]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _write_tree(render: Path) -> str:
    """Write a render as a tree of this repository, in the folder of this project."""
    home, prefix = git("rev-parse", "--absolute-git-dir"), git("rev-parse", "--show-prefix")
    with tempfile.TemporaryDirectory() as folder:
        own = {"GIT_DIR": home, "GIT_WORK_TREE": str(render), "GIT_INDEX_FILE": f"{folder}/index"}
        git(*PLAIN, "add", "--all", "--force", folder=render, env=own)
        tree = git(*PLAIN, "write-tree", folder=render, env=own)  # it may look at young files again
        if prefix:
            own["GIT_INDEX_FILE"] = f"{folder}/nested"
            git("read-tree", f"--prefix={prefix}", tree, folder=render, env=own)
            tree = git("write-tree", folder=render, env=own)
    return tree


def _refuse_overwriting(old: str, new: str) -> None:
    """Stop before git merges over a file that it ignores."""
    root = Path(git("rev-parse", "--show-toplevel"))
    changed = git("diff", "--name-only", "--diff-filter=d", "-z", old, new).split("\0")
    tracked = set(git("ls-files", "-z", folder=root).split("\0"))
    for name in set(changed) - tracked - {""}:
        folders = {path.as_posix() for path in Path(name).parents} - tracked
        if os.path.lexists(root / name) or any((root / path).is_file() for path in folders):
            raise DeliveryError(f"{name} is not in git, and the template has one: move yours away")


def merge(commit: str, state: str, moves: Moves) -> tuple[list[str], list[str]]:
    """Pick a commit; what is left to do by hand, and what was removed here and stays so.

    Raises:
        DeliveryError: git could not, and the project is as it was.
    """
    try:
        for source, target in moves:
            _move(Path(source), Path(target))
        conflicts = _pick(commit)
        gone = [path for path, stages in conflicts.items() if stages == REMOVED_HERE]
        for path in gone:
            git("rm", "--quiet", "--force", "--", f":(top,literal){path}")
            del conflicts[path]
        Path(STATE).write_text(state, "utf-8")
        git("add", STATE)
        left = [f"{p} ({CONFLICTS.get(s, 'moved apart')})" for p, s in conflicts.items()]
        return left + _lock(), gone
    except BaseException as reason:  # an interrupt, too
        git("reset", "--quiet", "--hard")
        if isinstance(reason, DeliveryError):
            raise DeliveryError(f"{reason}; nothing was changed", 2) from None
        raise


def _move(source: Path, target: Path) -> None:
    if source.is_file() and git("ls-files", str(source)) and not os.path.lexists(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        git("mv", "--", str(source), str(target))


def _pick(commit: str) -> dict[str, str]:
    """Merge what a commit changes; the stages of each path in conflict."""
    try:
        git("-c", "merge.renames=true", "cherry-pick", "--no-commit", commit)
        return {}
    except DeliveryError:
        root = Path(git("rev-parse", "--show-toplevel"))
        conflicts: dict[str, str] = {}
        for entry in git("ls-files", "--unmerged", "-z", folder=root).split("\0")[:-1]:
            facts, path = entry.split("\t", 1)
            conflicts[path] = conflicts.get(path, "") + facts[-1]
        if not conflicts:
            raise
        return conflicts


def _lock() -> list[str]:
    """Resolve the dependencies anew if they changed; what is left to do by hand."""
    if not git("ls-files", "uv.lock") or not git("diff", "--name-only", "HEAD", "pyproject.toml"):
        return []
    if git("diff", "--name-only", "--diff-filter=U", "pyproject.toml"):
        return ["uv.lock (mend pyproject.toml, then `uv lock`)"]
    command = [find_uv(), "lock", "--quiet"]
    own = {key: value for key, value in os.environ.items() if key != "UV_FROZEN"}
    done = subprocess.run(command, env=own, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it says nothing"])[0]
        return [f"uv.lock (`uv lock` failed: {reason})"]
    git("add", "uv.lock")
    return []
