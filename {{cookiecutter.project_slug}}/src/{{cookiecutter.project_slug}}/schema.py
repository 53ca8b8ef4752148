"""What follows from a contract: column types, rules in SQL, and the encoding of features."""

import datetime
import math
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Literal

import annotated_types
from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo

SQL_TYPES = {
    bool: "BOOLEAN",
    int: "BIGINT",
    float: "DOUBLE",
    Decimal: "DECIMAL(18, 2)",
    str: "VARCHAR",
    datetime.datetime: "TIMESTAMP",
    datetime.date: "DATE",
}
COMPARISONS = (
    (annotated_types.Ge, "ge", ">="),
    (annotated_types.Gt, "gt", ">"),
    (annotated_types.Le, "le", "<="),
    (annotated_types.Lt, "lt", "<"),
)


class Row(BaseModel):
    """A row of a table: typed columns, no others; KEY is unique, REFERENCES are in other tables."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    KEY: ClassVar[tuple[str, ...]] = ()
    REFERENCES: ClassVar[dict[str, str]] = {}


@dataclass(frozen=True)
class Choice:
    """What was chosen in each example, and could have been.

    Attributes:
        table: reference table in data/ with one row for each possible choice.
        key: its key, which is also a column of the examples.
        propensity: column of the examples: the probability with which it was chosen.
        features: columns of the table that are features too.
    """

    table: str
    key: str
    propensity: str
    features: type[Row]


@dataclass(frozen=True)
class Task:
    """What is learned: from which table, for whom, and, if there is a choice, among what.

    Attributes:
        entities: table with one row for each of those that are served.
        examples: table with one row for each thing that was observed.
        example_id, entity_id, moment, target: its columns: key, for whom, when, what to predict.
        features: the features of features.sql, in the order of the model's input.
        slices: columns of the features by which errors are reported apart.
        choice: what there is to choose from; none if the model only predicts.
    """

    entities: str
    examples: str
    example_id: str
    entity_id: str
    moment: str
    target: str
    features: type[Row]
    slices: tuple[str, ...] = ()
    choice: Choice | None = None

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the model's inputs, in order."""
        chosen = self.choice.features.model_fields if self.choice else {}
        return (*self.features.model_fields, *chosen)

    @property
    def encoding(self) -> dict[str, list[str]]:
        """How the model's inputs are encoded, in order: each one's categories, none of a number."""
        return encoding(self.features) | (encoding(self.choice.features) if self.choice else {})


@dataclass(frozen=True)
class Rule:
    """A rule on one column, in words, and as the SQL condition of the rows that break it."""

    column: str
    words: str
    broken: str


def plain_type(field: FieldInfo) -> tuple[Any, bool]:
    """The type of a column without its None, and whether it may be empty."""
    options = [field.annotation]
    if typing.get_origin(field.annotation) in (typing.Union, types.UnionType):
        options = list(typing.get_args(field.annotation))
    kinds = [option for option in options if option is not types.NoneType]
    if len(kinds) != 1:
        raise TypeError(f"a column has one type, not {field.annotation}")
    return kinds[0], len(kinds) < len(options)


def categories(field: FieldInfo) -> tuple[str, ...]:
    """The values that a column of type Literal may hold, in the order of their codes; or none."""
    kind, _ = plain_type(field)
    return typing.get_args(kind) if typing.get_origin(kind) is Literal else ()


def columns(model: type[Row]) -> dict[str, str]:
    """SQL type of each column of a table."""
    return {
        name: "VARCHAR" if categories(field) else SQL_TYPES[plain_type(field)[0]]
        for name, field in model.model_fields.items()
    }


def rules(model: type[Row], cutoff: datetime.datetime | None = None) -> Iterator[Rule]:
    """The rules of a table's columns; times must lie before the cutoff, if one is given."""
    for name, field in model.model_fields.items():
        kind, may_be_empty = plain_type(field)
        if not may_be_empty:
            yield Rule(name, "must not be empty", f'"{name}" IS NULL')
        if values := categories(field):
            listed = ", ".join(map(_quote, values))
            yield Rule(name, f"must be one of {', '.join(values)}", f'"{name}" NOT IN ({listed})')
        if kind is float:
            yield Rule(name, "must be a finite number", f'NOT isfinite("{name}")')
        if kind is datetime.datetime and cutoff:
            yield Rule(name, f"must be before {cutoff}", f"\"{name}\" >= TIMESTAMP '{cutoff}'")
        for bound in field.metadata:
            yield _bound(name, bound)


def _bound(name: str, bound: Any) -> Rule:
    for kind, attribute, sign in COMPARISONS:
        if isinstance(bound, kind):
            limit = getattr(bound, attribute)
            return Rule(name, f"must be {sign} {limit}", f'NOT "{name}" {sign} {limit}')
    raise TypeError(f"column {name}: no SQL for {bound!r}; teach it to schema.py or drop it")


def encoding(model: type[Row]) -> dict[str, list[str]]:
    """The categories of each feature in the order of their codes; none of a number."""
    return {name: list(categories(field)) for name, field in model.model_fields.items()}


def encode(row: Row, encoding: dict[str, list[str]]) -> list[float]:
    """The features of one row as numbers, as `encoded` makes them in SQL."""
    values = ((getattr(row, name), options) for name, options in encoding.items())
    return [
        math.nan if value is None else float(options.index(value) if options else value)
        for value, options in values
    ]


def encoded(model: type[Row], prefix: str = "") -> list[str]:
    """SQL that turns each feature into a 32-bit float: a category into its code, NULL into NaN."""
    expressions = []
    for name, field in model.model_fields.items():
        value = f'{prefix}"{name}"'
        if values := categories(field):
            value = f"list_position([{', '.join(map(_quote, values))}], {value}) - 1"
        expressions.append(f"coalesce(({value})::FLOAT, 'nan'::FLOAT) AS \"{name}\"")
    return expressions


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
