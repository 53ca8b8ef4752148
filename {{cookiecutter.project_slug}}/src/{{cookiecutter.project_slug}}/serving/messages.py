"""What the service is asked and what it answers, derived from the task of contract.py."""

import datetime
from typing import Annotated, Any, Literal, NamedTuple

from msgspec.json import encode
from pydantic import ConfigDict, Field, ValidationError, create_model

from ..contract import TABLES, TASK
from ..schema import Row

ENTITY = TASK.entity_id
ACTION = TASK.choice.key if TASK.choice else None
ACTIONS = TASK.choice.table if TASK.choice else None
EXPECTED = f"expected_{TASK.target}"
DISTINCT: dict[str, Any] = {"uniqueItems": True}
NAME_SHOWN = 50  # characters of a field's name that a refusal repeats


class Message(Row):
    """A request or an answer: exact types, no unknown fields."""

    model_config = ConfigDict(strict=True)


def _id(table: str, key: str) -> Any:
    field = TABLES[table].model_fields[key]
    kind: Any = field.annotation
    return Annotated[kind, *field.metadata, Field(lt=2**63)]  # what BIGINT holds


def _request(name: str, words: str, **fields: Any) -> type[Message]:
    if ACTION and ACTIONS:
        number: Any = _id(TASK.examples, ACTION)
        some: Any = Annotated[list[number], Field(min_length=1, json_schema_extra=DISTINCT)]
        fields[ACTIONS] = (some | None, Field(None, description="all that are known, if none"))
    return create_model(name, __base__=Message, __doc__=words, **fields)


def _answer() -> type[Message]:
    fields: dict[str, Any] = {ACTION: int} if ACTION else {}
    fields |= {"baseline": float, EXPECTED: float}
    item: Any = create_model("Item", __base__=Message, **fields)
    return create_model(
        "Ranking",
        __base__=Message,
        __doc__="The best first, with what it is based on.",
        ranking=list[item],
        served=Literal["model", "baseline"],
        cold_start=Annotated[bool, Field(description="nothing is known: the baseline's ranking")],
        model=Annotated[str, Field(description="SHA-256 of the model")],
        known_until=Annotated[
            datetime.datetime | None, Field(description="the newest fact behind the ranking")
        ],
        feature_age_seconds=Annotated[float, Field(ge=0)] | None,
    )


Rank = _request("Rank", "Rank for somebody by id.", **{ENTITY: _id(TASK.entities, ENTITY)})
Predict = _request("Predict", "Rank for somebody by features.", features=TASK.features)
Ranking = _answer()
Refusal = create_model("Refusal", __base__=Message, __doc__="Why not, in one sentence.", error=str)


def item_head(action: int | None, baseline: float) -> bytes:
    """An item of a ranking but for its last number: what no request changes is written once."""
    known = ({ACTION: action} if ACTION else {}) | {"baseline": baseline}
    return encode(known)[:-1] + b',"%b":' % EXPECTED.encode()


class Answer(NamedTuple):
    """What goes back, and for a ranking what is written down about it."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = {"content-type": "application/json"}  # noqa: RUF012 - never changed
    record: dict[str, Any] | None = None


class RefusedError(Exception):
    """A request that gets no ranking: its status and one sentence."""

    def __init__(self, status: int, sentence: str, **headers: str) -> None:
        """Keep them, and headers such as Retry_After."""
        super().__init__(sentence)
        self.status = status
        self.headers = {name.replace("_", "-").lower(): value for name, value in headers.items()}


def parse(model: type[Message], body: bytes) -> Any:
    """Read a request; raises RefusedError that names the field."""
    try:
        return model.model_validate_json(body, strict=True)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if detail["type"] == "json_invalid":
        raise RefusedError(400, f"the body is not JSON: {detail['msg'].partition(': ')[2]}")
    name = ".".join(map(str, detail["loc"]))[:NAME_SHOWN] or "the body"
    raise RefusedError(422, f"{name} {_fault(detail['type'], detail['msg'])}")


def _fault(kind: str, message: str) -> str:
    known = {
        "missing": "is missing",
        "extra_forbidden": "is not a field of this request",
        "too_short": "must not be empty",
        "int_parsing_size": "is too large",
    }
    return known.get(kind) or message.replace("Input should be", "must be")
