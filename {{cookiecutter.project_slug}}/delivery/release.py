"""Which version serves where: deploy, roll back, status.

IMAGE_REGISTRY names the registry and its folder, such as ghcr.io/team; DEPLOYED_BY who is at it,
where git does not know.
"""

import argparse
import datetime
import getpass
import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, replace

from . import DeliveryError, environments, targets
from .environments import Environment
from .git import git
from .image import DASHBOARD, parts, repository
from .publish import find
from .targets import Deployed, Target

COLUMNS = ("environment", "version", "digest", "model_hash", "data_hash", "who", "when")


def deploy(arguments: list[str]) -> int:
    """Bring a version up in an environment; what serves there goes on until it is healthy."""
    parser = argparse.ArgumentParser("deploy", description=deploy.__doc__)
    parser.add_argument("--version", required=True, help="a tag or a commit")
    parser.add_argument("--environment", required=True, help="a name of deploy/environments.yaml")
    parser.add_argument("--share", type=int, default=100, help="percent of requests: a canary")
    options = parser.parse_args(arguments)
    target, environment = targets.find(), environments.find(options.environment)
    if not 1 <= options.share <= 100:
        raise DeliveryError(f"--share is a percentage from 1 to 100, not {options.share}", 2)
    wanted = resolve(options.version, environment, options.share)
    print(bring_up(target, environment, wanted))
    return 0


def rollback(arguments: list[str]) -> int:
    """Return to the version that served before; where a canary serves, only take that away."""
    parser = argparse.ArgumentParser("rollback", description=rollback.__doc__)
    parser.add_argument("--environment", required=True, help="a name of deploy/environments.yaml")
    options = parser.parse_args(arguments)
    target, environment = targets.find(), environments.find(options.environment)
    if canary := serving(target, environment, canary=True):
        with target.lock(environment):
            target.undo(environment, canary)
        print(f"{environment.name}: the canary {canary.version} is gone")
        return 0
    previous = target.previous(environment)
    if not previous:
        sentence = f"{environment.name} has nothing to roll back to: no version served before"
        raise DeliveryError(sentence)
    dashboard = previous.dashboard if DASHBOARD in parts() else ""  # never an open one
    wanted = replace(previous, who=who(), when=now(), dashboard=dashboard)
    print(bring_up(target, environment, wanted))
    return 0


def status(arguments: list[str]) -> int:
    """Show what serves in each environment, and whether it says so itself."""
    parser = argparse.ArgumentParser("status", description=status.__doc__)
    parser.add_argument("--json", action="store_true", help="for programs")
    options = parser.parse_args(arguments)
    target, rows = targets.find(), []
    for deployed in target.status(environments.load().values()):
        row = asdict(deployed) | {"health": "ok"}
        try:
            check(deployed, target.ask(environments.find(deployed.environment), deployed))
        except DeliveryError as fault:
            row["health"] = str(fault)
        rows.append(row)
    print(json.dumps(rows, indent=1) if options.json else table(rows))
    return 0 if all(row["health"] == "ok" for row in rows) else 1


def resolve(version: str, environment: Environment, share: int = 100) -> Deployed:
    """What a tag or a commit is in the registry; nothing is built. A canary has no dashboard.

    Raises:
        DeliveryError: git does not know it, or the registry has no image of it.
    """
    try:
        revision = git(
            "rev-parse", "--verify", "--quiet", "--end-of-options", version + "^{commit}"
        )
    except DeliveryError:
        sentence = f"git knows no version {version}: `git fetch --tags`, or mend its name"
        raise DeliveryError(sentence, 2) from None
    digest, labels = find(revision, version)
    shown = DASHBOARD in parts() and share == 100
    return Deployed(
        environment=environment.name,
        version=version,
        revision=revision,
        image=repository(),
        digest=digest,
        model_hash=labels["ml.model.hash"],
        data_hash=labels["ml.data.hash"],
        who=who(),
        when=now(),
        url=environment.url,
        share=share,
        dashboard=find(revision, version, DASHBOARD)[0] if shown else "",
    )


def bring_up(target: Target, environment: Environment, wanted: Deployed) -> str:
    """Start a version, and let requests reach it once it is what was asked for; one sentence.

    Raises:
        DeliveryError: it is not; what served goes on serving.
    """
    with target.lock(environment):
        served = serving(target, environment)
        if wanted.share < 100 and not served:
            raise DeliveryError(f"{environment.name} serves nothing a canary could be beside", 2)
        if served and served.content == wanted.content:
            with suppress(DeliveryError):
                check(served, target.ask(environment, served))
                return f"{environment.name}: {wanted.version} serves already at {served.url}"
        try:
            target.up(environment, wanted)
            await_health(target, environment, wanted)
            target.keep(environment, wanted)
        except (DeliveryError, KeyboardInterrupt) as fault:
            with suppress(DeliveryError):
                target.undo(environment, wanted)
            rest = f"{served.version} still serves" if served else "nothing serves, as before"
            sentence = f"{wanted.version} was rolled back: {fault}; {rest} in {environment.name}"
            raise DeliveryError(sentence) from None
    share = f" to {wanted.share} % of requests" if wanted.share < 100 else ""
    page = f", its dashboard at {wanted.address(DASHBOARD)}" if wanted.dashboard else ""
    what = f"{environment.name}: {wanted.version} ({wanted.digest})"
    return f"{what} serves{share} at {wanted.url}{page}"


def serving(target: Target, environment: Environment, canary: bool = False) -> Deployed | None:
    """What serves in an environment, or its canary."""
    for deployed in target.status([environment]):
        if deployed.environment == environment.name and (deployed.share < 100) == canary:
            return deployed
    return None


def await_health(target: Target, environment: Environment, wanted: Deployed) -> None:
    """Wait until a version is ready; raises DeliveryError if it never is, or is another one."""
    deadline = time.monotonic() + environment.ready_seconds
    while True:
        try:
            answer = target.ask(environment, wanted)
            break
        except DeliveryError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.5)
    check(wanted, answer)


def check(wanted: Deployed, answer: str) -> None:
    """Compare with what /version says; raises DeliveryError if it is another version."""
    said = json.loads(answer.splitlines()[-1])
    for name in ("revision", "model_hash", "data_hash"):
        if said.get(name) != getattr(wanted, name):
            asked = getattr(wanted, name)
            raise DeliveryError(f"/version says {name} {said.get(name)}, and {asked} was asked for")


def table(rows: list[dict]) -> str:
    """The rows as text, hashes cut to twelve characters."""
    shown = [[str(row[name]).removeprefix("sha256:")[:20] for name in COLUMNS] for row in rows]
    for line, row in zip(shown, rows, strict=True):
        line[2:5] = [text[:12] for text in line[2:5]]
        line[6] = line[6][:16]
        share = f" ({row['share']} %)" if row["share"] < 100 else ""
        line[0] += share
        line += [row["health"], row["url"]]
    lines = [[*(name.removesuffix("_hash") for name in COLUMNS), "health", "url"], *shown]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
    return "\n".join(padded) if rows else "nothing is deployed"


def who() -> str:
    """Who is at it, for the record."""
    with suppress(DeliveryError):
        return os.environ.get("DEPLOYED_BY") or git("config", "user.name")
    return getpass.getuser()


def now() -> str:
    """This moment in UTC, as ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
