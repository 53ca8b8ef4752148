"""Merge a later release of the template into this project, by `make template-update`.

The template is rendered twice, as it was and as it is, with the answers of this project. The
difference is picked onto the branch that is checked out, like a commit of somebody else: what both
sides changed is a conflict, and nothing is overwritten. Until then the project is not touched.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

from . import DeliveryError, proposal, providers, template
from .git import git
from .template_merge import STATE, merge, write_commit

NOTHING = "There is no later release of the template."
MARKER = "[//]: # (the template's update)"
REPORT = Path("reports/delivery/report.md")


@dataclass(frozen=True)
class Change:
    """What a later version of the template brings, ready to be merged."""

    name: str
    title: str
    commit: str
    state: str
    moves: template.Moves
    news: template.Answers


def update(arguments: list[str]) -> int:
    """Merge the newest release of the template, or the tag given; --pull-request for a schedule."""
    if arguments == ["--pull-request"]:
        return propose()
    if len(arguments) > 1 or "".join(arguments).startswith("-"):
        raise DeliveryError("usage: template-update [TAG | --pull-request]", 2)
    change = prepare(arguments[0] if arguments else "")
    if change is None:
        print(NOTHING)
        return 0
    left, gone = merge(change.commit, change.state, change.moves)
    print(f"{change.title}: {len(git('diff', '--name-only', 'HEAD').splitlines())} files")
    print("".join(f"{line}\n" for line in describe(change, left, gone)), end="")
    print("Undo: git reset --hard. Next: make setup reproduce check, then commit.")
    return 1 if left else 0


def describe(change: Change, left: list[str], gone: list[str]) -> list[str]:
    """What a person wants to know of a merge, beside the difference itself."""
    return [
        *(f"New question: {question}={answer}" for question, answer in change.news.items()),
        *(f"Stays removed, as you left it: {path}" for path in gone),
        *(f"Needs you: {line}" for line in left),
    ]


def propose() -> int:
    """Merge the newest release in a branch of its own, and open its pull request."""
    context, change = providers.context(), prepare("")
    branch = f"template-update/{change.name}" if change else ""
    if change is None or proposal.waits(branch):
        print(f"{branch} waits to be merged or removed." if branch else NOTHING)
        return 0
    proposal.start(branch)
    left, gone = merge(change.commit, change.state, change.moves)
    proposal.commit(change.title)
    REPORT.unlink(missing_ok=True)
    left += [] if left else reproduce()
    lines = [f"- {line}" for line in describe(change, left, gone)]
    report = REPORT.read_text() if REPORT.exists() else ""
    head = [MARKER, "", "The template's CHANGELOG says what there is to do.", ""]
    text = "\n".join([*head, *lines, "", report])
    print(proposal.submit(context, branch, change.title, text, draft=bool(left)))
    return 0


def reproduce() -> list[str]:
    """Make the pipeline's outputs with the code as merged, and report; what went wrong.

    In processes of their own: this one runs the code before the merge.
    """
    delivery = [sys.executable, "-m", "delivery"]
    for command in (["make", "setup"], [*delivery, "reproduce"]):
        if subprocess.run(command).returncode:
            return [f"`{' '.join(command[-2:])}` fails with the new release, see the run's log"]
    # before its commit, whose parent is the update: the report compares with the model of today
    refused = subprocess.run([*delivery, "report"]).returncode
    proposal.commit("Reproduce")
    return ["`delivery report` refuses the model, see the run's log"] if refused else []


def prepare(wanted: str) -> Change | None:
    """What the wanted or the newest version brings, if anything; the project stays as it is.

    Raises:
        DeliveryError: it cannot be had, or not without a loss.
    """
    try:
        state = read_state()
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
            folder = Path(name).resolve()
            template.fetch(state["template"], folder / "template")
            return compare(state, wanted, folder)
    except DeliveryError as refusal:
        raise DeliveryError(f"{refusal}; nothing was changed", 2) from None


def read_state() -> dict:
    """What this project was rendered from and with, if all work in it is committed.

    Raises:
        DeliveryError: it does not say, or there is work that a merge would mix with its own.
    """
    if dirty := git("status", "--porcelain", "--untracked-files=normal").splitlines():
        raise DeliveryError(f"commit or stash your work first: {', '.join(dirty[:5])}")
    try:
        state = json.loads(Path(STATE).read_text("utf-8"))
        if state["commit"] and state["template"] and state["context"]["cookiecutter"]:
            return state
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise DeliveryError(f"{STATE} does not say what to follow: `uvx cruft link ADDRESS` writes it")


def read_skipped(state: dict) -> list[str]:
    """The globs of files that the template leaves alone, in the two places where cruft looks.

    Raises:
        DeliveryError: pyproject.toml cannot be read.
    """
    try:
        project = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))
    except (OSError, ValueError) as reason:
        raise DeliveryError(f"pyproject.toml cannot be read: {reason}") from None
    skipped = project.get("tool", {}).get("cruft", {}).get("skip", [])
    globs = [glob.strip("/") for glob in (*state.get("skip", []), *skipped)]
    return [glob for glob in globs if glob and ".." not in Path(glob).parts]


def compare(state: dict, wanted: str, folder: Path) -> Change | None:
    """Render both versions in a folder that holds the clone, and write down what differs.

    Raises:
        DeliveryError: a version is not there, or an answer or a file of the project would be lost.
    """
    clone = folder / "template"
    old = template.find(clone, state["commit"])
    name = template.choose(clone, old, wanted)
    if name is None:
        return None
    new, known = template.find(clone, name), state["context"]["cookiecutter"]
    stored = {key: answer for key, answer in known.items() if not key.startswith("_")}
    answers, moves = template.migrate(stored, template.read_migrations(clone, old, new))
    questions = template.read_questions(clone, new)
    template.refuse_loss(answers, questions, name)
    before, _ = template.render(clone, old, stored, folder / "old")
    after, context = template.render(clone, new, answers, folder / "new")
    added = [key for key in questions if not key.startswith("_") and key not in answers]
    if given := ask(added, questions, context):
        after, context = template.render(clone, new, answers | given, folder / "asked")
    title = f"Update the template from {template.describe(clone, old)} to {name}"
    commit = write_commit(before, after, moves, read_skipped(state), title)
    context |= {"_template": state["template"], "_commit": new}
    later = state | {"commit": new, "checkout": name, "context": {"cookiecutter": context}}
    text = json.dumps(later, ensure_ascii=False, indent=2, separators=(",", ": ")) + "\n"
    return Change(name, title, commit, text, moves, {key: context[key] for key in added})


def ask(added: list[str], questions: dict, defaults: dict) -> template.Answers:
    """Put new questions to the person at the terminal, if there is one; what is not the default."""
    given = {}
    for question in added if sys.stdin.isatty() else ():
        label = questions.get("__prompts__", {}).get(question, question)
        label = label["__prompt__"] if isinstance(label, dict) else label
        choices = questions[question] if isinstance(questions[question], list) else []
        offer = f" ({'/'.join(choices)})" if choices else ""
        answer = None
        while answer is None or (answer and choices and answer not in choices):
            answer = _read_line(f"{label}{offer} [{defaults[question]}]: ")
        if answer:
            given[question] = answer
    return given


def _read_line(prompt: str) -> str:
    try:
        return input(prompt).strip()
    except EOFError:
        return ""
