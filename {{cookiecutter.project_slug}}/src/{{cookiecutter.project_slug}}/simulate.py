"""The stand-in world: players, what they do, and promotions shown to them at random.

Every day has random numbers of its own, so a later `until` only adds rows: what was data stays as
it was. Replace this module by your own source (collect.source in params.yaml).
"""

import datetime
import typing
from dataclasses import dataclass

import numpy as np
import pandas as pd

from . import contract, disturbance
from .params import Simulate
from .stage import progress

COUNTRIES = typing.get_args(contract.Country)
PLATFORMS = typing.get_args(contract.Platform)
PRODUCT_SETS = typing.get_args(contract.ProductSet)
MESSAGES = typing.get_args(contract.Message)
COUNTRY_SHARE = (0.25, 0.15, 0.3, 0.1, 0.2)
COUNTRY_WEALTH = np.array((0.6, 1.2, 0.4, 1.6, 1.4))
DAY = np.timedelta64(1, "D")
WEEK_SECONDS = 7 * 86_400


@dataclass(frozen=True)
class Players:
    """Columns of the players and, below, the traits that no table shows; all arrays (n, ...)."""

    registered_at: np.ndarray
    country: np.ndarray
    platform: np.ndarray
    activity: np.ndarray  # sessions a day
    wealth: np.ndarray  # how freely money is spent; mean about 1
    taste: np.ndarray  # (n, product sets), rows sum to 1
    response: np.ndarray  # (n, messages), multiplies the wish to buy

    def __len__(self) -> int:
        """Number of players."""
        return len(self.country)


def tables(
    simulate: Simulate, cutoff: datetime.datetime, promotions: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """The tables of the contract with everything before the cutoff."""
    days = pd.date_range(simulate.start, cutoff, inclusive="left").to_numpy("datetime64[us]")
    players = population(simulate, len(days))
    events, exposures = [], []
    for number, day in enumerate(progress(days, desc="simulate", unit="day")):
        here = np.flatnonzero(players.registered_at < day)
        today = disturbance.change(simulate.drift, players, day)
        events.append(_daily_events(today, here, day, _random(simulate, 2, number)))
        if day >= np.datetime64(simulate.experiment_start):
            random = _random(simulate, 3, number)
            shown = _daily_exposures(today, here, day, simulate, promotions, random)
            exposures.append(shown)
            events.append(_purchases(shown, promotions, random))
    registered = players.registered_at < np.datetime64(cutoff)
    all_events = disturbance.record(simulate.drift, pd.concat(events))
    all_exposures = pd.concat(exposures) if exposures else pd.DataFrame()
    if len(all_exposures):
        all_exposures.insert(0, "exposure_id", np.arange(len(all_exposures)))
        all_exposures = all_exposures[all_exposures["matured_at"] < cutoff]
    return {
        "players": _player_table(players)[registered],
        "events": all_events[all_events["at"] < cutoff],
        "exposures": all_exposures,
    }


def population(simulate: Simulate, days: int) -> Players:
    """Players registered in the year before the start, and one thousandth more every day."""
    start = np.datetime64(simulate.start, "us")
    cohorts = [_cohort(simulate.players, start - 365 * DAY, 365, _random(simulate, 0, 0))]
    newcomers = max(1, simulate.players // 1000)
    for number in range(days):
        day = start + number * DAY
        joining = newcomers * disturbance.growth(simulate.drift, day)
        cohorts.append(_cohort(joining, day, 1, _random(simulate, 1, number)))
    fields = Players.__dataclass_fields__
    players = Players(*(np.concatenate([getattr(c, name) for c in cohorts]) for name in fields))
    return disturbance.settle(simulate.drift, players, len(COUNTRIES))


def wish(players: Players, promotions: pd.DataFrame) -> np.ndarray:
    """Expected number of units bought in seven days, (players, promotions).

    Taste makes people want a product set, the message persuades some, and a high price deters
    those who are not wealthy.
    """
    product = promotions["product_set"].map(PRODUCT_SETS.index).to_numpy()
    message = promotions["message"].map(MESSAGES.index).to_numpy()
    price = promotions["price"].to_numpy(float)
    deterred = (price / 4) ** -(0.4 + 0.9 / (1 + players.wealth[:, None]))
    taste = 4 * players.taste[:, product]
    return 0.18 * players.wealth[:, None] * taste * players.response[:, message] * deterred


def expected_revenue(players: Players, promotions: pd.DataFrame) -> np.ndarray:
    """The truth that a model estimates: mean revenue of seven days, (players, promotions)."""
    return wish(players, promotions) * promotions["price"].to_numpy(float)


def _random(simulate: Simulate, stream: int, number: int) -> np.random.Generator:
    return np.random.default_rng([simulate.seed, stream, number])


def _cohort(n: int, first: np.datetime64, days: int, random: np.random.Generator) -> Players:
    seconds = random.integers(0, days * 86_400, n)
    country = random.choice(len(COUNTRIES), n, p=COUNTRY_SHARE)
    return Players(
        registered_at=first + np.sort(seconds).astype("timedelta64[s]"),
        country=country,
        platform=random.choice(len(PLATFORMS), n, p=(0.5, 0.35, 0.15)),
        activity=random.gamma(0.7, 0.36, n),
        wealth=COUNTRY_WEALTH[country] * random.lognormal(-0.5, 1.0, n),
        taste=random.dirichlet((0.4,) * len(PRODUCT_SETS), n),
        response=random.uniform(0.5, 1.5, (n, len(MESSAGES))),
    )


def _player_table(players: Players) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "player_id": np.arange(len(players)),
            "country": pd.Categorical.from_codes(players.country, COUNTRIES),
            "platform": pd.Categorical.from_codes(players.platform, PLATFORMS),
            "registered_at": players.registered_at,
        }
    )


def _daily_events(
    players: Players, here: np.ndarray, day: np.datetime64, random: np.random.Generator
) -> pd.DataFrame:
    weekend = 1.3 if day.astype("datetime64[D]").astype(int) % 7 in (2, 3) else 0.9
    sessions = np.repeat(here, random.poisson(weekend * players.activity[here]))
    bought = random.random(len(sessions)) < 0.25 * np.minimum(players.wealth[sessions], 4)
    buyers = sessions[bought]
    chance = players.taste[buyers].cumsum(axis=1)
    product = (random.random(len(buyers))[:, None] > chance).sum(axis=1).clip(max=3)
    amount = np.round(random.lognormal(0.7, 0.5, len(buyers)) * players.wealth[buyers] ** 0.3, 2)
    seconds = random.gamma(2, 400, len(sessions)).astype(int)
    return pd.DataFrame(
        {
            "player_id": np.concatenate([sessions, buyers]),
            "at": day + random.integers(0, 86_400, len(sessions) + len(buyers)).astype("m8[s]"),
            "kind": _kind(len(sessions), len(buyers)),
            "product_set": _product_set(np.concatenate([np.full(len(sessions), -1), product])),
            "amount": np.concatenate([np.zeros(len(sessions)), amount]),
            "seconds": np.concatenate([seconds, np.zeros(len(buyers), int)]),
        }
    )


def _daily_exposures(
    players: Players,
    here: np.ndarray,
    day: np.datetime64,
    simulate: Simulate,
    promotions: pd.DataFrame,
    random: np.random.Generator,
) -> pd.DataFrame:
    weight = players.activity[here] + 0.05
    seen = random.choice(here, simulate.exposures_per_day, p=weight / weight.sum())
    shown = random.integers(0, len(promotions), len(seen))
    subset = Players(*(getattr(players, name)[seen] for name in Players.__dataclass_fields__))
    units = random.poisson(wish(subset, promotions)[np.arange(len(seen)), shown])
    shown_at = day + np.sort(random.integers(0, 86_400, len(seen))).astype("m8[s]")
    return pd.DataFrame(
        {
            "player_id": seen,
            "promotion_id": promotions["promotion_id"].to_numpy(int)[shown],
            "propensity": 1 / len(promotions),
            "shown_at": shown_at,
            "matured_at": shown_at + 7 * DAY,
            "revenue": np.round(units * promotions["price"].to_numpy(float)[shown], 2),
        }
    )


def _purchases(
    shown: pd.DataFrame, promotions: pd.DataFrame, random: np.random.Generator
) -> pd.DataFrame:
    bought = shown[shown["revenue"] > 0]
    product = promotions.set_index("promotion_id")["product_set"].map(PRODUCT_SETS.index)
    delay = random.integers(60, WEEK_SECONDS, len(bought)).astype("m8[s]")
    return pd.DataFrame(
        {
            "player_id": bought["player_id"].to_numpy(),
            "at": bought["shown_at"].to_numpy() + delay,
            "kind": _kind(0, len(bought)),
            "product_set": _product_set(product.loc[bought["promotion_id"]].to_numpy()),
            "amount": bought["revenue"].to_numpy(),
            "seconds": np.zeros(len(bought), int),
        }
    )


def _kind(sessions: int, purchases: int) -> pd.Categorical:
    return pd.Categorical.from_codes(
        np.repeat([0, 1], [sessions, purchases]), ["session", "purchase"]
    )


def _product_set(codes: np.ndarray) -> pd.Categorical:
    return pd.Categorical.from_codes(codes, PRODUCT_SETS)
