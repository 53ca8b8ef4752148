"""The contract: what every table and every feature may hold, and what is learned from them.

Bring your own data by changing this file, features.sql and the source in params.yaml.
"""

import datetime
from decimal import Decimal
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from .schema import Choice, Row, Task

Country = Literal["BR", "DE", "IN", "JP", "US"]
Platform = Literal["android", "ios", "web"]
ProductSet = Literal["boosts", "coins", "lives", "skins"]
Message = Literal["discount", "gift", "last_chance"]
Id = Annotated[int, Field(ge=0)]
Money = Annotated[Decimal, Field(ge=0)]


class Player(Row):
    """Somebody who plays."""

    KEY: ClassVar = ("player_id",)
    player_id: Id
    country: Country
    platform: Platform
    registered_at: datetime.datetime


class Event(Row):
    """Something that a player did: a session of some seconds, or a purchase."""

    REFERENCES: ClassVar = {"player_id": "players"}
    player_id: Id
    at: datetime.datetime
    kind: Literal["session", "purchase"]
    product_set: ProductSet | None
    amount: Money
    seconds: Annotated[int, Field(ge=0)]


class Promotion(Row):
    """What can be shown: a product set and the message that sells it."""

    KEY: ClassVar = ("promotion_id",)
    promotion_id: Id
    product_set: ProductSet
    message: Message
    price: Money


class Exposure(Row):
    """A promotion that was shown, at random, and the revenue of the seven days that followed."""

    KEY: ClassVar = ("exposure_id",)
    REFERENCES: ClassVar = {"player_id": "players", "promotion_id": "promotions"}
    exposure_id: Id
    player_id: Id
    promotion_id: Id
    propensity: Annotated[float, Field(gt=0, le=1)]
    shown_at: datetime.datetime
    matured_at: datetime.datetime
    revenue: Money


class PlayerFeatures(Row):
    """What features.sql says of a player at a moment; the order is that of the model's input."""

    country: Country
    platform: Platform
    tenure_days: float
    days_since_session: float | None
    sessions_7d: int
    sessions_28d: int
    hours_28d: float
    days_since_purchase: float | None
    purchases_28d: int
    spend_28d: float
    spend_84d: float
    spend_boosts: float
    spend_coins: float
    spend_lives: float
    spend_skins: float


class PromotionFeatures(Row):
    """What the model knows of a promotion."""

    product_set: ProductSet
    message: Message
    price: float


# collected by the first stage into data/raw, and read from data/*.csv as they are
TABLES: dict[str, type[Row]] = {"players": Player, "events": Event, "exposures": Exposure}
REFERENCE_TABLES: dict[str, type[Row]] = {"promotions": Promotion}

TASK = Task(
    entities="players",
    examples="exposures",
    example_id="exposure_id",
    entity_id="player_id",
    moment="shown_at",
    target="revenue",
    features=PlayerFeatures,
    slices=("country", "platform"),
    choice=Choice(
        table="promotions",
        key="promotion_id",
        propensity="propensity",
        features=PromotionFeatures,
    ),
)
