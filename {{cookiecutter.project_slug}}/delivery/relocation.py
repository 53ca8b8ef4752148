"""Move a living project to another storage, by `make storage TO=<answer> URL=<url>`.

Everything that this commit and the tags need is copied and read back before the project switches.
Each step looks at what is there, so a move that was interrupted is run again.
"""

import importlib
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from . import DeliveryError
from .place import TABLE, Place, read_secrets, read_table
from .storage import COMMITTED, find_faults, list_objects, opened, send

ANSWERS, PROJECT, README = Path(".cruft.json"), Path("pyproject.toml"), Path("README.md")
CONFIG = Path(".dvc/config")
HEADER, PREVIOUS = "['remote \"storage\"']", "['remote \"previous\"']"
DONE = """Stored at {url}. Next: `make reproduce` if uv.lock changed, then commit.
The storage before is the remote `previous`; `dvc remote remove previous` forgets it."""


def move(arguments: list[str]) -> int:
    """Move to another storage: copy what this commit and the tags need, then switch to it."""
    table = read_table()
    answer, url = [*arguments, "", ""][:2]
    row = find_row(table, answer, url)
    options = read_options(row, url)
    section = "\n    ".join(
        [HEADER, *(f"{k} = {v}" for k, v in options.items()), "verify = true\n"]
    )
    if PREVIOUS in CONFIG.read_text() and section not in CONFIG.read_text():
        raise DeliveryError("first `dvc remote remove previous`: two are kept, not three", 2)
    install(table["storages"][table["storage"]]["extra"], row["extra"])
    with opened("storage") as repo:
        complete(repo)
    if "://" not in options["url"]:
        options["url"] = str(CONFIG.parent / Path(options["url"]).expanduser())
    place = Place(url, row["login"], options | read_secrets(row))
    with opened("storage", place) as repo:
        copy(repo)
    switch(section)
    answer_again(table, answer, url)
    print(DONE.format(url=url))
    return 0


def find_row(table: dict[str, Any], answer: str, url: str) -> dict[str, Any]:
    """The row of the storage to move to.

    Raises:
        DeliveryError: there is none, or the URL is no place of it.
    """
    if answer not in table["storages"]:
        known = ", ".join(table["storages"])
        raise DeliveryError(f"say `make storage TO=<answer> URL=<url>`; answers: {known}", 2)
    row = table["storages"][answer]
    if url != url.strip() or not re.fullmatch(row["pattern"], url):
        raise DeliveryError(f'URL names no place of {answer}: write one like "{row["url"]}"', 2)
    return row


def install(before: str, after: str) -> None:
    """Add what DVC needs for the new storage, and leave what it needs for the old one.

    Raises:
        DeliveryError: uv says no.
    """
    text = PROJECT.read_text()
    PROJECT.write_text(text.replace(f'"dvc{before}>=', f'"dvc{after}>='))
    sync = [os.environ.get("UV", "uv"), "sync", "--quiet", "--inexact"]
    done = subprocess.run(sync, capture_output=True, text=True)
    if done.returncode:
        PROJECT.write_text(text)
        raise DeliveryError(f"uv cannot install dvc{after}: {' '.join(done.stderr.split())}")
    importlib.invalidate_caches()


def read_options(row: dict[str, Any], url: str) -> dict[str, str]:
    """The options of DVC's remote as the template's `__remote` makes them."""
    parts = urlsplit(url)
    lines = [
        line.format(
            account=parts.netloc.partition(".")[0],
            folder=url if Path(url).is_absolute() or url.startswith("~") else f"../{url}",
            origin=f"{parts.scheme}://{parts.netloc}",
            path=parts.path.lstrip("/"),
            url=url,
        )
        for line in row["remote"]
    ]
    return dict(line.split(" = ", 1) for line in lines)


def complete(repo: Any) -> None:
    """Bring everything that is needed into the cache.

    Raises:
        DeliveryError: something is whole in neither.
    """
    names, cache = list_objects(repo, **COMMITTED), repo.cache.local
    remote = repo.cloud.get_remote_odb()
    if faults := find_faults(cache, remote, names):
        send(remote, cache, faults)
    if faults := find_faults(cache, remote, names):
        which = ", ".join(f"{oid} ({names[oid]})" for oid in faults)
        raise DeliveryError(f"neither the cache nor the storage holds these whole: {which}")


def copy(repo: Any) -> None:
    """Send everything from the cache to the new storage, and read it back.

    Raises:
        DeliveryError: something did not arrive whole.
    """
    names, cache = list_objects(repo, **COMMITTED), repo.cache.local
    remote = repo.cloud.get_remote_odb()
    send(cache, remote, find_faults(remote, cache, names))
    if faults := find_faults(remote, cache, names):
        raise DeliveryError(f"{len(faults)} of {len(names)} objects did not arrive: run it again")


def switch(section: str) -> None:
    """Make the new storage DVC's default, and call the one before `previous`."""
    if section in CONFIG.read_text():
        return
    for path in (CONFIG.with_name("config.local"), CONFIG):
        if path.exists():
            path.write_text(path.read_text().replace(HEADER, PREVIOUS))
    CONFIG.write_text(CONFIG.read_text().replace(PREVIOUS, section + PREVIOUS))


def answer_again(table: dict[str, Any], answer: str, url: str) -> None:
    """Change the answers where the template put them, so that an update keeps the new ones."""
    old, new = table["storages"][table["storage"]], table["storages"][answer]
    text = README.read_text()
    README.write_text(text.replace(table["url"], url).replace(old["login"], new["login"]))
    if ANSWERS.exists():
        state = json.loads(ANSWERS.read_text())
        state["context"]["cookiecutter"] |= {"storage": answer, "storage_url": url}
        write(ANSWERS, state)
    write(TABLE, table | {"storage": answer, "url": url})


def write(path: Path, content: dict[str, Any]) -> None:
    """Write JSON as the template does."""
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n")
