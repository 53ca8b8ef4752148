"""Any host with Docker, over SSH: versions of an environment side by side, one proxy before them.

A container that runs serves, one that is stopped is the version before, and one whose name ends in
-next is not healthy yet. So the engine itself is the record, and `status` only asks it. A version
with a dashboard is two containers, which come and go together.
"""

import json
import math
import os
import subprocess
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any

from .. import DeliveryError
from ..environments import Environment
from ..image import DASHBOARD, project
from . import ASK, PATHS, PREFIX, Deployed, require_abandoned

SECRETS = ("SSH_PRIVATE_KEY", "SSH_KNOWN_HOSTS")  # of CI, for hosts that are asked by ssh
PROXY = "delivery-proxy"
NEXT = "-next"
PORTS = {"": 8000, DASHBOARD: 8501}
SITE = """
%(url)s {
	@private path /metrics /_stcore/metrics
	respond @private 404
	reverse_proxy %(names)s {
		%(weights)s
	}
}
"""
NOBODY = "http:// {\n\trespond 404\n}\n"  # for a host name that no environment has


@dataclass(frozen=True)
class Container:
    """A version on the host, or its dashboard."""

    name: str
    app: str
    part: str
    deployed: Deployed
    running: bool
    stopped_at: str

    @property
    def serves(self) -> bool:
        """Whether requests may reach it."""
        return self.running and not self.name.endswith(NEXT)


@contextmanager
def lock(environment: Environment) -> Generator[None]:
    """Hold a container's name, which the engine gives to one only; DeliveryError if it is held."""
    _compose(environment, "proxy", PROXY)
    name = f"{_slug(environment)}-lock"
    (proxy,) = _inspect(environment, PROXY)
    create = ("create", "--name", name, proxy["Config"]["Image"], "true")
    try:
        _docker(environment, *create)
    except DeliveryError:
        require_abandoned(environment, _inspect(environment, name)[0]["Created"])
        _docker(environment, "rm", "--force", name)
        _docker(environment, *create)
    try:
        yield
    finally:
        with suppress(DeliveryError):
            _docker(environment, "rm", "--force", name)


def up(environment: Environment, wanted: Deployed) -> None:
    """Start a version; requests do not reach it yet."""
    facts = {name.upper(): str(value) for name, value in asdict(wanted).items()}
    slot = _slot(environment, wanted)
    profile = DASHBOARD if wanted.dashboard else ""
    facts |= {"APP": project(), "SLOT": slot, "COMPOSE_PROFILES": profile}
    _compose(environment, "compose", slot, **facts)


def ask(environment: Environment, wanted: Deployed) -> str:
    """What a version says of itself; DeliveryError says why it is not ready."""
    found = [c for c in _containers(environment) if c.deployed == wanted and c.running]
    names, answer = {container.part: container.name for container in found}, ""
    for part in wanted.parts:
        if part not in names:
            raise DeliveryError(f"no {part or 'container'} of {wanted.version} runs")
        answer = _docker(environment, "exec", names[part], "python", "-c", ASK, *PATHS[part])
    return answer  # a dashboard's tells what the service says to it


def keep(environment: Environment, wanted: Deployed) -> None:
    """Let requests reach a version; without a share, what served before is stopped and kept."""
    for part in wanted.parts:
        name = "-".join(filter(None, [_slot(environment, wanted), part]))
        _docker(environment, "rename", f"{name}{NEXT}", name)
    found = _containers(environment)
    others = [c for c in found if _is_here(c, environment) and c.deployed != wanted]
    leaving = [c for c in others if c.serves and (wanted.share == 100 or c.deployed.share < 100)]
    _route(environment, [container for container in found if container not in leaving])
    if leaving:
        _docker(environment, "stop", *(container.name for container in leaving))
    before = _before(others, leaving)
    rest = [c.name for c in others if c.deployed != before and (not c.serves or c in leaving)]
    if rest:
        _docker(environment, "rm", "--force", *rest)


def undo(environment: Environment, wanted: Deployed) -> None:
    """Take a version away; what serves beside it goes on."""
    _remove(environment, lambda container: container.deployed == wanted)


def down(environment: Environment) -> None:
    """Take every version of an environment away; there may be none."""
    _remove(environment, lambda container: True)


def previous(environment: Environment) -> Deployed | None:
    """The version that was stopped last."""
    return _before([c for c in _containers(environment) if _is_here(c, environment)])


def status(places: Iterable[Environment]) -> list[Deployed]:
    """What serves on the hosts of some environments."""
    hosts = {environment.at: environment for environment in places}
    found = (c for place in hosts.values() for c in _containers(place) if c.app == project())
    serving = (c.deployed for c in found if c.serves and not c.part)
    return sorted(serving, key=lambda deployed: (deployed.environment, -deployed.share))


def _before(containers: list[Container], leaving: Sequence[Container] = ()) -> Deployed | None:
    """The whole version that was stopped last; those that are leaving are stopped just now."""
    services = [c for c in containers if not c.part and not c.name.endswith(NEXT)]
    whole = [container for container in services if container.deployed.share == 100]
    stopped = [container for container in whole if not container.running or container in leaving]
    last = max(stopped, key=lambda c: (c in leaving, c.stopped_at), default=None)
    return last.deployed if last else None


def _remove(environment: Environment, chosen: Callable[[Container], bool]) -> None:
    found = _containers(environment)
    gone = [c for c in found if _is_here(c, environment) and chosen(c)]
    if names := [container.name for container in gone]:
        _route(environment, [container for container in found if container not in gone])
        _docker(environment, "stop", *names)
        _docker(environment, "rm", "--force", *names)


def _route(environment: Environment, containers: list[Container]) -> None:
    sites: dict[str, list[Container]] = {}
    for container in filter(lambda container: container.serves, containers):
        sites.setdefault(container.deployed.address(container.part), []).append(container)
    text = NOBODY + "".join(_site(url, here) for url, here in sorted(sites.items()))
    command = ("exec", "--interactive", PROXY, "caddy", "reload", "--adapter", "caddyfile")
    _docker(environment, *command, "--config", "-", stdin=text)


def _site(url: str, containers: list[Container]) -> str:
    """The newest whole version of a site and the canary after it, in Caddy's own language."""
    newest = sorted(containers, key=lambda container: container.deployed.when)
    whole = [container for container in newest if container.deployed.share == 100][-1:]
    canary = newest[-1:] if newest[-1].deployed.share < 100 else []
    share = canary[0].deployed.share if canary else 0
    names = " ".join(f"{c.name}:{PORTS[c.part]}" for c in [*whole, *canary])
    part = math.gcd(share, 100)  # small weights alternate often: Caddy serves each weight in a row
    pair = f"{(100 - share) // part} {share // part}"
    weights = f"lb_policy weighted_round_robin {pair}" if canary else ""
    return SITE % {"url": url, "names": names, "weights": weights}


def _is_here(container: Container, environment: Environment) -> bool:
    return (container.app, container.deployed.environment) == (project(), environment.name)


def _containers(environment: Environment) -> list[Container]:
    listed = _docker(environment, "ps", "--all", "--quiet", "--filter", f"label={PREFIX}app")
    if not listed:
        return []
    return [
        Container(
            name=row["Name"].removeprefix("/"),
            app=row["Config"]["Labels"][f"{PREFIX}app"],
            part=row["Config"]["Labels"].get(f"{PREFIX}part", ""),
            deployed=Deployed.read(row["Config"]["Labels"]),
            running=row["State"]["Running"],
            stopped_at=row["State"]["FinishedAt"],
        )
        for row in _inspect(environment, *listed.split())
    ]


def _inspect(environment: Environment, *names: str) -> list[dict[str, Any]]:
    return json.loads(_docker(environment, "inspect", "--type", "container", *names))


def _slug(environment: Environment) -> str:
    return f"{project()}-{environment.name}".replace("_", "-").lower()


def _slot(environment: Environment, wanted: Deployed) -> str:
    return f"{_slug(environment)}-{wanted.stamp}"


def _compose(environment: Environment, file: str, name: str, **variables: str) -> None:
    words = ("compose", "--file", f"deploy/{file}.yaml", "--project-name", name)
    _docker(environment, *words, "up", "--detach", "--quiet-pull", **variables)


def _docker(
    environment: Environment, *arguments: str, stdin: str | None = None, **variables: str
) -> str:
    host = {"DOCKER_HOST": environment.at} if environment.at else {}
    try:
        done = subprocess.run(
            ["docker", *arguments],
            input=stdin,
            env=os.environ | host | variables,
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        raise DeliveryError("docker is not installed, and compose deploys with it", 2) from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["it failed"]
        verb = arguments[0] if arguments[0] != "compose" else "compose up"
        place = environment.at or "this machine"
        raise DeliveryError(f"docker {verb} on {place}: {lines[-1].strip()}")
    return done.stdout.strip()
