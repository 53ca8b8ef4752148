"""Refuse answers that would make a broken project, all at once, before a file is written."""

import json
import keyword
import os
import re
import sys
from collections.abc import Iterator

# The only Jinja of this file. Pairs, because the filter sorts the keys of a mapping.
CONTEXT = r"""{{ cookiecutter.items() | list | tojson }}"""

SECRET = re.compile(r"://[^/@]*:[^/@]*@|://.*\?")  # a password, or the signature of a link
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
EMAIL = re.compile(r"[^\s@<>()\"'\\,;:]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
# Test suites and the project's own tools go by these names.
TAKEN = {*sys.stdlib_module_names, "delivery", "test", "tests"}


def check_slug(slug: str) -> Iterator[str]:
    """Ask for a name that Python can import and that hides nothing else."""
    shown = json.dumps(slug)
    if not re.fullmatch(r"[a-z]([a-z0-9_]*[a-z0-9])?", slug):
        better = re.sub(r"[^a-z0-9]+", "_", slug.lower()).strip("_0123456789") or "my_model"
        yield (
            f"project_slug {shown} cannot name a Python package: use lower-case letters, digits "
            f'and _, with a letter first and no _ last, for example "{better}".'
        )
    elif keyword.iskeyword(slug):
        yield f'project_slug {shown} is a keyword of Python: add a word, as in "{slug}_model".'
    elif slug in TAKEN:
        yield f'project_slug {shown} would hide another module: add a word, as in "{slug}_model".'


def check_text(question: str, text: str) -> Iterator[str]:
    """Ask for text that any file can hold."""
    if found := CONTROL.search(text):
        yield f"{question} holds the control character {found[0]!a}: take it out."


def check_name(question: str, text: str) -> Iterator[str]:
    """Ask for a name that shows: git refuses an author made of punctuation alone."""
    if not any(letter.isalnum() for letter in text):
        yield f"{question} {json.dumps(text)} has neither letter nor digit: give a name."


def check_email(email: str) -> Iterator[str]:
    """Ask for an address that git and package metadata accept."""
    if not EMAIL.fullmatch(email):
        yield (
            f"author_email {json.dumps(email)} is not an e-mail address: "
            'write one like "data@example.com".'
        )


def check_storage(url: str, storage: str, row: dict) -> Iterator[str]:
    """Ask for a place of that storage that `.dvc/config` can hold: no secret, it is committed."""
    if SECRET.search(url):
        yield (
            "storage_url holds a password or a signature: leave it out, the README says where DVC "
            f'finds it, and write a URL like "{row["url"]}".'
        )
    elif not url.strip() or url != url.strip() or re.search(r"[\n\t\"'#,]", url):
        yield (
            f"storage_url {json.dumps(url)} is not a plain path or URL: write it without "
            f'quotes, commas, # and outer blanks, for example "{row["url"]}".'
        )
    elif not re.fullmatch(row["pattern"], url):
        yield (
            f"storage_url {json.dumps(url)} names no place of the storage {storage}: "
            f'write one like "{row["url"]}".'
        )


def forget(url: str) -> Iterator[str]:
    """Delete the answers that cookiecutter kept for a replay; say so where they are not found."""
    from pathlib import Path  # not above: few come here, and every run pays for an import

    from cookiecutter.config import get_user_config

    replays = list(Path(get_user_config()["replay_dir"]).glob("*.json"))
    found = [path for path in replays if json.dumps(url) in path.read_text("utf-8")]
    for path in found:
        path.unlink()
    if not found:
        yield "cookiecutter keeps the last answers in its replay_dir: delete them there."


def check_folder(folder: str) -> Iterator[str]:
    """Ask for a folder whose work is committed, since rendering overwrites files."""
    if any(os.scandir(folder)) and not is_saved(folder):
        yield (
            "the folder of this project_slug holds work that no git commit keeps: commit it, "
            "move it away or choose another project_slug, then run again."
        )


def is_saved(folder: str) -> bool:
    """Say whether git has all that is in a folder, or only begins there."""
    import subprocess  # not above: few folders come here, and every run pays for an import
    from pathlib import Path

    mine = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*arguments: str) -> bytes:
        command = ("git", "--no-optional-locks", *arguments)
        done = subprocess.run(command, cwd=folder, env=mine, capture_output=True, check=True)
        return done.stdout

    try:
        if Path(folder, ".git").exists() and not git("rev-list", "--all", "--max-count=1"):
            return True
        # A folder that a repository around it ignores is clean, but nothing keeps it.
        return not git("status", "--porcelain", ".") and git("ls-files", ".") != b""
    except (OSError, subprocess.CalledProcessError):
        return False


def find_problems(context: dict, folder: str) -> list[str]:
    """Say everything that is wrong with the answers and the folder."""
    problems = [*check_slug(context["project_slug"])]
    for question in ("project_name", "author_name"):
        problems += check_name(question, context[question])
    for question in ("project_name", "description", "author_name", "storage_url"):
        problems += check_text(question, context[question])
    problems += check_email(context["author_email"])
    storage = context["storage"]
    problems += check_storage(context["storage_url"], storage, context["_storages"][storage])
    return [*problems, *check_folder(folder)]


def main() -> int:
    """Print one line a problem."""
    context = dict(json.loads(CONTEXT))
    problems = find_problems(context, os.path.curdir)
    if SECRET.search(context["storage_url"]):
        problems += forget(context["storage_url"])
    for problem in problems:
        print(f"ERROR: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
