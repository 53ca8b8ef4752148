"""Where versions run: one module a deploy target; a project holds the one that it chose.

A target starts a version beside the one that serves, and lets requests reach it once it is healthy:

    lock(environment)      nobody else deploys there meanwhile
    up(wanted)             start it; what serves goes on
    ask(wanted)            what it says of itself
    keep(wanted)           requests reach it, the version before is kept to return to
    undo(wanted)           it goes, what served goes on
    down(environment)      nothing is left
    previous(environment)  the version to return to
    status(places)         what serves, read where it runs: no record that could disagree
"""

import datetime
import importlib
import pkgutil
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol, Self, cast

from .. import DeliveryError
from ..environments import Environment, address
from ..image import DASHBOARD

PREFIX = "delivery."
LOCK_MINUTES = 15  # an older lock was left by somebody who was killed

# Asked within the container: it needs neither a name in the DNS nor an open port.
PATHS = {
    "": ("http://127.0.0.1:$PORT/readyz", "http://127.0.0.1:$PORT/version"),
    DASHBOARD: ("http://127.0.0.1:$STREAMLIT_SERVER_PORT/_stcore/health", "$SERVICE/version"),
}
ASK = """
import json, os, sys, urllib.error, urllib.request
for url in map(os.path.expandvars, sys.argv[1:]):
    try:
        print(urllib.request.urlopen(url, timeout=3).read().decode())
    except urllib.error.HTTPError as error:
        said = error.read().decode()
        raise SystemExit(json.loads(said)["error"] if said[:1] == "{" else f"{url} says {error}")
    except OSError as error:
        raise SystemExit(f"{url} does not answer: {error}")
"""


@dataclass(frozen=True)
class Deployed:
    """A version in an environment; the container that runs it carries all of this as labels."""

    environment: str
    version: str  # the tag or commit that was asked for
    revision: str  # the commit that it is
    image: str  # the repository in the registry
    digest: str
    model_hash: str
    data_hash: str
    who: str
    when: str  # ISO 8601, UTC
    url: str
    share: int = 100  # percent of the requests; less than 100 is a canary
    dashboard: str = ""  # digest of the dashboard's image; empty without one

    @property
    def stamp(self) -> str:
        """Its moment as digits, to name what runs it."""
        return "".join(filter(str.isdigit, self.when[:23]))

    @property
    def content(self) -> tuple[str, int, str]:
        """What serves whom: of two with the same, one need not be deployed where the other is."""
        return self.digest, self.share, self.dashboard

    @property
    def parts(self) -> list[str]:
        """The service, and the dashboard if there is one."""
        return ["", DASHBOARD] if self.dashboard else [""]

    def address(self, part: str = "") -> str:
        """Where people reach it, or a part of it."""
        return address(self.url, part)

    def labels(self) -> dict[str, str]:
        """Its facts as labels of a container or annotations of a pod."""
        return {f"{PREFIX}{name}": str(value) for name, value in asdict(self).items()}

    @classmethod
    def read(cls, labels: dict[str, str]) -> Self:
        """The facts that `labels` wrote; what an older version did not write is empty."""
        names = [field.name for field in fields(cls)]
        facts: dict[str, Any] = {name: labels.get(f"{PREFIX}{name}", "") for name in names}
        facts["share"] = int(facts["share"] or 100)
        return cls(**facts)


class Target(Protocol):
    """What each module of this package offers."""

    lock: Callable[[Environment], AbstractContextManager[None]]
    up: Callable[[Environment, Deployed], None]
    ask: Callable[[Environment, Deployed], str]
    keep: Callable[[Environment, Deployed], None]
    undo: Callable[[Environment, Deployed], None]
    down: Callable[[Environment], None]
    previous: Callable[[Environment], Deployed | None]
    status: Callable[[Iterable[Environment]], list[Deployed]]


def find() -> Target:
    """The deploy target of this project.

    Raises:
        DeliveryError: it was made with `deploy: none`.
    """
    for module in pkgutil.iter_modules(__path__):
        return cast(Target, importlib.import_module(f"{__name__}.{module.name}"))
    sentence = "this project was made without a deploy target (`deploy: none`): nothing can run it"
    raise DeliveryError(sentence, 2)


def require_abandoned(environment: Environment, since: str) -> None:
    """Raise DeliveryError if the lock that is held since then (ISO 8601) may still be in use."""
    age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(since)
    if age < datetime.timedelta(minutes=LOCK_MINUTES):
        sentence = f"another deploy to {environment.name} is under way since {since[:19]}"
        raise DeliveryError(f"{sentence}: try again when it is done")
