"""What is set up and what is missing, with the command that mends it; no value is ever shown."""

import importlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from configparser import ConfigParser
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from . import DeliveryError
from .git import git
from .place import TABLE, read_table


class Finding(NamedTuple):
    """One line of the table."""

    name: str
    fault: str = ""
    remedy: str = ""


def examine(arguments: list[str]) -> int:
    """Tell what is set up and what is missing, with the command that mends it."""
    here = list(work())
    show("To work here", here)
    show("To deliver from here", deliver())
    return 2 if any(finding.fault for finding in here) else 0


def show(title: str, findings: Iterable[Finding]) -> None:
    """Print the lines of a group as they come."""
    print(f"{title}:")
    for name, fault, remedy in findings:
        line = f"  missing  {name:20} {fault}: {remedy}" if fault else f"  ok       {name}"
        print(line, flush=True)


def work() -> Iterator[Finding]:
    """All that the local work needs."""
    environment = Path(".venv/bin/python").exists() and shutil.which("dvc", path=".venv/bin")
    yield Finding("environment", "" if environment else ".venv is not made", "make setup")
    yield Finding("lock", "" if Path("uv.lock").exists() else "no uv.lock", "make setup")
    repository = bool(_git("rev-parse", "--git-dir"))
    init = "git init && git add --all && git commit -m Start && make setup"
    yield Finding("git repository", "" if repository else "none begins here", init)
    if repository:
        for part, example in (("name", "Ada Lovelace"), ("email", "ada@example.com")):
            known = _git("config", f"user.{part}")
            remedy = f'git config user.{part} "{example}"'
            yield Finding(f"git {part}", "" if known else "git does not know you", remedy)
        drivers = _git("config", "--local", "include.path") == "../.gitconfig"
        yield Finding("notebook drivers", "" if drivers else "not switched on", "make setup")
        hook = Path(_git("rev-parse", "--git-path", "hooks/pre-commit"))
        yield Finding("commit hooks", "" if hook.exists() else "not installed", "make setup")


def deliver() -> Iterator[Finding]:
    """What the verbs need beyond that; most of it is the provider's to hold."""
    yield Finding("git remote", "" if _git("remote") else "none", "git remote add origin URL")
    yield _try("engine", _ask_engine, "install docker, podman or buildah")
    yield _try("storage", _ask_storage, "make setup, then log in as the README says")
    if os.environ.get("IMAGE_REGISTRY"):
        yield _try("registry", _ask_registry, "docker login")
    else:
        yield Finding("IMAGE_REGISTRY", "not set", "export IMAGE_REGISTRY=ghcr.io/team")
    yield _try("deploy target", _ask_target, "copy deploy/ and delivery/targets/ of another answer")
    with suppress(ImportError, DeliveryError):
        for name in _environments():
            remedy = "mend its row in deploy/environments.yaml, or start what it names"
            yield _try(f"target {name}", partial(_ask_target, name), remedy)
    name, fault = "DASHBOARD_PASSWORD", "not set, so versions come without their dashboard"
    remedy = "set it here, and among the secrets of your CI"
    yield Finding(name, "" if os.environ.get(name) else fault, remedy)
    for name, option in _secrets():
        remedy = "set it here, or among the secrets of your CI"
        known = os.environ.get(name) or option in _local_options()
        yield Finding(name, "" if known else "not set", remedy)


def _try(name: str, call: Callable[[], None], remedy: str) -> Finding:
    try:
        call()
    except ImportError:  # what it imports comes with the environment
        return Finding(name, "not asked yet", "make setup")
    except DeliveryError as fault:
        return Finding(name, str(fault), remedy)
    return Finding(name)


def _ask_engine() -> None:
    from .image import find_engine

    find_engine()


def _ask_registry() -> None:
    from .image import repository
    from .registry import Registry

    Registry(repository()).digest("latest")


def _environments() -> list[str]:
    from . import environments, targets

    targets.find()
    return list(environments.load())


def _ask_target(name: str = "") -> None:
    from . import environments, targets

    targets.find().status([environments.load()[name]] if name else [])


def _secrets() -> Iterator[tuple[str, str]]:
    if TABLE.exists():
        table = read_table()
        yield from table["storages"][table["storage"]]["secrets"].items()
    for package in ("providers", "targets"):
        with suppress(ImportError, DeliveryError):
            module = importlib.import_module(f"{__package__}.{package}").find()
            yield from ((name, "") for name in getattr(module, "SECRETS", ()))


def _local_options() -> list[str]:
    local = ConfigParser(interpolation=None, strict=False)
    local.read(".dvc/config.local")
    return [option for section in local for option in local[section]]


def _ask_storage() -> None:
    from .storage import ask

    ask()


def _git(*arguments: str) -> str:
    try:
        return git(*arguments)
    except (DeliveryError, OSError):
        return ""
