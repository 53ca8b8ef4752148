"""The template that this project follows: its releases, its questions, and what it renders."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from . import DeliveryError
from .git import git

COOKIECUTTER = "cookiecutter==2.7.1"
RELEASE = re.compile(r"v(\d+)\.(\d+)\.(\d+)")
# somebody's own settings change neither what is checked out nor what is merged
PLAIN = (
    *("-c", "core.autocrlf=false"),
    *("-c", "core.safecrlf=false"),
    *("-c", "core.fsmonitor=false"),
    *("-c", f"core.hooksPath={os.devnull}"),
    *("-c", "filter.nbstripout.clean="),
)

Answers = dict[str, str]
Moves = list[tuple[str, str]]


def fetch(address: str, clone: Path) -> None:
    """Clone the template.

    Raises:
        DeliveryError: it is not there, or the network is not.
    """
    try:
        git(*PLAIN, "clone", "--quiet", "--no-checkout", "--", address, str(clone))
    except DeliveryError as reason:
        raise DeliveryError(
            f"the template cannot be fetched from {address} ({reason}); if it has moved, write "
            'its address into .cruft.json as "template", and commit that'
        ) from None


def find(clone: Path, revision: str) -> str:
    """The commit of a tag, or of another name of git.

    Raises:
        DeliveryError: the template has none of that name.
    """
    try:
        return git("rev-parse", "--verify", "--quiet", revision + "^{commit}", folder=clone)
    except DeliveryError:
        known = ", ".join(list_releases(clone)[-5:]) or "none yet"
        raise DeliveryError(f"the template has no {revision}; its releases: {known}") from None


def list_releases(clone: Path) -> list[str]:
    """The tags vX.Y.Z, oldest first."""
    return sorted(filter(RELEASE.fullmatch, git("tag", folder=clone).split()), key=_number)


def _number(release: str) -> tuple[int, ...]:
    match = RELEASE.fullmatch(release)
    return tuple(int(part) for part in match.groups()) if match else ()


def choose(clone: Path, current: str, wanted: str) -> str | None:
    """The version to follow: the wanted one, or the newest release; None if that brings nothing.

    Raises:
        DeliveryError: there is no such version.
    """
    name = wanted or (list_releases(clone) or ["release"])[-1]
    new = find(clone, name)
    # a project may be made from commits after the newest release
    behind = git("rev-list", "--count", f"{current}..{new}", folder=clone) != "0"
    return name if new != current and (wanted or behind) else None


def describe(clone: Path, commit: str) -> str:
    """The release that a commit is, or the last one before it and how far it is away."""
    return git("describe", "--tags", "--always", commit, folder=clone)


def read_questions(clone: Path, commit: str) -> dict:
    """The questions of a version: name to default, or to the list of choices."""
    return json.loads(git("show", f"{commit}:cookiecutter.json", folder=clone))


def read_migrations(clone: Path, old: str, new: str) -> list[dict]:
    """What the releases after one version, up to another, ask of a project; oldest first."""
    if not git("ls-tree", new, "migrations.json", folder=clone):
        return []
    migrations = json.loads(git("show", f"{new}:migrations.json", folder=clone))
    passed = git("tag", "--merged", old, folder=clone).split()
    return [migrations[tag] for tag in sorted(migrations, key=_number) if tag not in passed]


def migrate(answers: Answers, migrations: list[dict]) -> tuple[Answers, Moves]:
    """The answers as later releases name and spell them, and the files that move."""
    moves: Moves = []
    for migration in migrations:
        renamed, rows = migration.get("rename", {}), migration.get("map", [])
        named = {renamed.get(key, key): answer for key, answer in answers.items()}
        rows = [row for row in rows if row["if"].items() <= named.items()]
        replaced = {None, *(key for row in rows for key in row["if"])}
        answers = {key: answer for key, answer in named.items() if key not in replaced}
        for row in rows:
            answers |= row["then"]
        paths = migration.get("move", {}).items()
        moves += [(old.format_map(answers), new.format_map(answers)) for old, new in paths]
    return answers, moves


def refuse_loss(answers: Answers, questions: dict, name: str) -> None:
    """Stop before a version forgets an answer, or takes another one in its place.

    Raises:
        DeliveryError: a question or a choice is gone, and no migration says what follows.
    """
    for question, answer in answers.items():
        offered = questions.get(question)
        if offered is None or (isinstance(offered, list) and answer not in offered):
            raise DeliveryError(
                f"{name} of the template no longer takes {question}={answer}, and its "
                "migrations.json does not say what follows: ask its makers, or name another tag"
            )


def render(clone: Path, commit: str, answers: Answers, folder: Path) -> tuple[Path, dict]:
    """The project as a version makes it, and all the answers that it was made with.

    Raises:
        DeliveryError: the version refuses the answers, or cookiecutter cannot be run.
    """
    git(*PLAIN, "checkout", "--quiet", "--detach", commit, folder=clone)
    questions = json.loads((clone / "cookiecutter.json").read_text("utf-8"))
    folder.mkdir()
    settings = folder / "settings.yaml"  # nothing is read from or left in somebody's home
    kept = {key: str(folder / "kept") for key in ("replay_dir", "cookiecutters_dir")}
    settings.write_text(json.dumps(kept, ensure_ascii=False), "utf-8")
    given = [f"{key}={_quote(answer, questions.get(key))}" for key, answer in answers.items()]
    options = ("--no-input", "--config-file", settings, "--output-dir", folder / "out", *given)
    _run_cookiecutter(clone, *options, folder=folder)
    (project,) = (folder / "out").iterdir()
    context = json.loads((project / ".cruft.json").read_text("utf-8"))["context"]["cookiecutter"]
    if changed := [key for key, answer in answers.items() if context.get(key) != answer]:
        raise DeliveryError(f"the template changes the answers to {', '.join(changed)}")
    return project, context


def _quote(answer: str, offered: str | list | None) -> str:
    # cookiecutter renders the answers themselves, but compares choices as they are
    text = json.dumps(answer, ensure_ascii=False)
    return answer if isinstance(offered, list) else f"{2 * '{'} {text} {2 * '}'}"


def _run_cookiecutter(*arguments: str | Path, folder: Path) -> None:
    tool = ("tool", "run", "--quiet", "--python", sys.executable, "--from", COOKIECUTTER)
    command = (find_uv(), *tool, "cookiecutter", *arguments)
    mine = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    mine |= {"CD4ML_INIT": "render", "TMPDIR": str(folder)}
    done = subprocess.run(command, cwd=folder, env=mine, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
        stated = [line for line in lines if line.startswith("ERROR:")] or lines[-1:]
        raise DeliveryError(f"the template cannot be rendered: {' '.join(stated)}")


def find_uv() -> str:
    """The path of uv.

    Raises:
        DeliveryError: it is neither on PATH nor in the environment.
    """
    places = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    if found := os.environ.get("UV") or shutil.which("uv", path=places):
        return found
    raise DeliveryError("uv is not here: `make setup`", 2)
