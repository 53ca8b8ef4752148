"""What may go wrong in the stand-in world from a day on: the monitor must find it.

Set by simulate.drift in params.yaml; goes with the example.
"""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .params import Drift

if TYPE_CHECKING:
    from .simulate import Players

LAUNCH = 8  # times as many people join where the game is new
BUSIER = 1.8  # times as many sessions


def growth(drift: Drift | None, day: np.datetime64) -> int:
    """How many times as many players as usual join on a day."""
    return LAUNCH if drift and drift.kind == "new_country" and day >= _start(drift) else 1


def settle(drift: Drift | None, players: "Players", countries: int) -> "Players":
    """Where players live: with a new country nobody in the last one before, all newcomers after."""
    if not drift or drift.kind != "new_country":
        return players
    last = countries - 1
    before = np.where(players.country == last, 0, players.country)
    country = np.where(players.registered_at >= _start(drift), last, before)
    return dataclasses.replace(players, country=country)


def change(drift: Drift | None, players: "Players", day: np.datetime64) -> "Players":
    """The players as they are on a day: busier, or with the taste of fashion."""
    if not drift or day < _start(drift):
        return players
    if drift.kind == "feature_shift":
        return dataclasses.replace(players, activity=players.activity * BUSIER)
    if drift.kind == "concept":
        return dataclasses.replace(players, taste=np.roll(players.taste, 1, axis=1))
    return players


def record(drift: Drift | None, events: pd.DataFrame) -> pd.DataFrame:
    """The events as they are stored: none any more, or with milliseconds for seconds."""
    if not drift:
        return events
    late = events["at"] >= _start(drift)
    if drift.kind == "stale_pipeline":
        return events[~late]
    if drift.kind == "broken_feature":
        return events.assign(seconds=events["seconds"].where(~late, events["seconds"] * 1000))
    return events


def _start(drift: Drift) -> np.datetime64:
    return np.datetime64(drift.start, "us")
