"""The environments of deploy/environments.yaml, and one a pull request."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from . import DeliveryError

FILE = Path("deploy/environments.yaml")
REVIEW = "review"


@dataclass(frozen=True)
class Environment:
    """A place where one version serves."""

    name: str
    url: str  # where people reach it
    at: str = ""  # what runs it: a Docker host or a kubectl context; empty: the current one
    ready_seconds: int = 60  # within which a version has to be ready
    keep_days: int = 14  # of a review app


def load() -> dict[str, Environment]:
    """The environments by name.

    Raises:
        DeliveryError: the file is missing, or a row of it is wrong.
    """
    try:
        rows = yaml.safe_load(FILE.read_text())
        return {name: Environment(name, **row) for name, row in rows.items()}
    except OSError:
        raise DeliveryError(f"{FILE} is missing: it names the environments", 2) from None
    except (yaml.YAMLError, AttributeError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise DeliveryError(f"{FILE}: each environment has url and at ({reason})", 2) from None


def address(url: str, part: str = "") -> str:
    """Where people reach a part of what is at a URL: under a host name of its own."""
    return url.replace("://", f"://{part}-", 1) if part else url


def find(name: str) -> Environment:
    """An environment; `review-42` is that of pull request 42.

    Raises:
        DeliveryError: there is none of this name.
    """
    known = load()
    if name in known and name != REVIEW:
        return known[name]
    if (number := re.fullmatch(rf"{REVIEW}-(\d+)", name)) and REVIEW in known:
        row = known[REVIEW]
        return replace(row, name=name, url=row.url.format(number=number[1]))
    names = [*(known.keys() - {REVIEW}), f"{REVIEW}-NUMBER"]
    raise DeliveryError(f"{name} is no environment of {FILE}: it has {', '.join(sorted(names))}", 2)
