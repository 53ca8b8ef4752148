"""One environment a pull request: its version, side by side with that of main."""

import argparse
import datetime

from . import DeliveryError, environments, providers, targets
from .environments import REVIEW
from .release import bring_up, resolve
from .targets import Target


def review_app(arguments: list[str]) -> int:
    """Bring a pull request's service and dashboard up or down, or take down all that are old."""
    parser = argparse.ArgumentParser("review-app", description=review_app.__doc__)
    parser.add_argument("action", choices=["up", "down", "sweep"])
    parser.add_argument("--number", help="of the pull request; default: this run's")
    parser.add_argument("--version", default="HEAD", help="a tag or a commit")
    options = parser.parse_args(arguments)
    target = targets.find()
    if options.action == "sweep":
        return sweep(target)
    number = options.number or str(providers.context().pull_request or "")
    if not number.isdecimal():
        raise DeliveryError(
            f"--number is that of a pull request, and it is {number or 'missing'}", 2
        )
    environment = environments.find(f"{REVIEW}-{number}")
    if options.action == "up":
        print(bring_up(target, environment, resolve(options.version, environment)))
    else:
        target.down(environment)
        print(f"{environment.name} is down")
    return 0


def sweep(target: Target) -> int:
    """Take down the review apps that nobody renewed for the days of deploy/environments.yaml."""
    row = environments.load().get(REVIEW)
    if not row:
        raise DeliveryError(f"{environments.FILE} has no row {REVIEW}", 2)
    oldest = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=row.keep_days)
    for deployed in target.status([row]):
        name = deployed.environment
        if name.startswith(f"{REVIEW}-") and deployed.when < oldest.isoformat():
            target.down(environments.find(name))
            print(f"{name} is down: it served since {deployed.when}")
    return 0
