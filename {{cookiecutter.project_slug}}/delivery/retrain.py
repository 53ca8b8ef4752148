"""Retrain: move collect.until, reproduce, judge against what is deployed, and propose it."""

import re
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from . import DeliveryError, gate, providers, report, revision, rivals
from .context import resolve
from .forge import cut
from .gate import Verdict
from .git import git
from .package import activate, load
from .storage import opened

BRANCH = "retrain"
PARAMS = Path("params.yaml")
UNTIL = re.compile(r'^(collect:\n(?:(?: .*|#.*|)\n)*?  until: )"?[\d-]+"?', re.MULTILINE)
DVC = (sys.executable, "-m", "dvc")
SUBJECT = "Retrain on data up to "


def propose(arguments: list[str]) -> int:
    """Retrain up to UNTIL (or yesterday), and open one pull request if the data are newer."""
    if git("status", "--porcelain", "--untracked-files=no"):
        raise DeliveryError("there are changes that are not committed: commit or stash them", 2)
    parameters = load("params").load()
    until = load("refresh").last_day()
    if until <= parameters.collect.until:
        print(f"nothing new: the model knows the data up to {parameters.collect.until}")
        return 0
    activate()
    with kept():
        before = revision.outputs()
        reproduce(str(until))
        if revision.outputs().get("data/raw") == before.get("data/raw"):
            print(f"nothing new: the data up to {until} are those of {parameters.collect.until}")
            return 0
        verdict, text = commit(str(until))
        publish(str(until), verdict, text, parameters.retrain.merge_within)
    return 0


@contextmanager
def kept() -> Generator[None]:
    """Leave the clone as it was, whatever happens in the block: commit, files and data."""
    head, branch = git("rev-parse", "HEAD"), git("rev-parse", "--abbrev-ref", "HEAD")
    try:
        yield
    finally:
        git("reset", "--quiet", "--hard")
        git("checkout", "--quiet", "--force", head if branch == "HEAD" else branch)
        subprocess.run([*DVC, "checkout", "--quiet", "--force"], capture_output=True)


def reproduce(until: str) -> None:
    """Move the date and run the stages.

    Raises:
        DeliveryError: a stage fails; the sentence is the stage's own.
    """
    moved, count = UNTIL.subn(rf'\g<1>"{until}"', PARAMS.read_text())
    if not count:
        raise DeliveryError("params.yaml has no line `until:` in its section collect", 2)
    PARAMS.write_text(moved)
    process = subprocess.Popen([*DVC, "repro"], stderr=subprocess.PIPE, text=True)
    lines = []
    for line in process.stderr or ():
        print(line, end="", file=sys.stderr)
        lines.append(line)
    if process.wait():
        told = "".join(lines).partition("ERROR: ")[2].partition("\nERROR: ")[0].strip()
        raise DeliveryError(f"the data up to {until} make no model: {told or 'dvc repro failed'}")


def commit(until: str) -> tuple[Verdict, str]:
    """Commit the new model on no branch; the gate's verdict and the report as Markdown."""
    git("checkout", "--quiet", "--detach")
    git("add", "--update")
    git("add", "--all", "reports", "dvc.lock")
    git(*_person(), "commit", "--quiet", "--no-verify", "--message", f"{SUBJECT}{until}")
    context = providers.context()
    others, _ = rivals.find(replace(context, base=resolve("HEAD^")))
    verdict = gate.judge(others)
    report.write([])
    return verdict, (report.FOLDER / "report.md").read_text()


def _person() -> list[str]:
    """Who commits where git knows nobody, as on a provider's machine."""
    try:
        git("config", "user.email")
        return []
    except DeliveryError:
        return ["-c", "user.name=Retraining", "-c", "user.email=retrain@localhost"]


def publish(until: str, verdict: Verdict, text: str, band: float | None) -> None:
    """Push data and branch, open or update the pull request, and merge it if it may.

    Raises:
        DeliveryError: the data cannot be stored, or the provider says no.
    """
    there = _pushed()
    if there and git("rev-parse", there + "^{tree}") == git("rev-parse", "HEAD^{tree}"):
        print(f"nothing new: the branch {BRANCH} holds this model already")
        return
    with opened("push") as repo:
        repo.push()
    git("push", "--quiet", "--no-verify", "--force", "origin", f"HEAD:refs/heads/{BRANCH}")
    provider, context = providers.find(), providers.context()
    title = f"{SUBJECT}{until} ({verdict.decision})"
    is_draft = verdict.decision != "promote"
    print(provider.pull_request(context, BRANCH, title, cut(text, provider.LIMIT), is_draft))
    if may_merge(verdict, band):
        git("push", "--quiet", "--no-verify", "origin", "HEAD:refs/heads/main")
        print(f"merged: {verdict}")


def may_merge(verdict: Verdict, band: float | None) -> bool:
    """Whether a model merges itself: promoted, and by the band no other than the one before."""
    gain = verdict.gain
    within = gain is not None and band is not None and abs(gain.value) <= band
    return verdict.decision == "promote" and within


def _pushed() -> str | None:
    """The retraining that was proposed before, if its branch is there.

    Raises:
        DeliveryError: somebody else's commits lie on it.
    """
    try:
        git("fetch", "--quiet", "origin", f"+refs/heads/{BRANCH}:refs/remotes/origin/{BRANCH}")
    except DeliveryError:
        return None
    found = resolve(f"origin/{BRANCH}")
    if found and not git("log", "-1", "--format=%s", found).startswith(SUBJECT):
        sentence = f"the branch {BRANCH} holds commits of a person: merge it or delete it"
        raise DeliveryError(sentence)
    return found
