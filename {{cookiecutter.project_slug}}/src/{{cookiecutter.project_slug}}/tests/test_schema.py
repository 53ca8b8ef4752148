"""The contract means the same in Python, row by row, and in SQL, table by table."""

import math

import duckdb
import pandas as pd
import pydantic
import pytest

from .. import contract, schema

GOOD = {
    "exposure_id": 1,
    "player_id": 2,
    "promotion_id": 3,
    "propensity": 0.5,
    "shown_at": "2026-01-01",
    "matured_at": "2026-01-08",
    "revenue": "1.99",
}
EVENT = {
    "player_id": 1,
    "at": "2026-01-01",
    "kind": "session",
    "product_set": None,
    "amount": "0",
    "seconds": 1,
}


def broken_in_sql(model, row):
    """Columns whose rules a row breaks."""
    connection = duckdb.connect()
    frame = pd.DataFrame([row], dtype="object").astype("string")
    connection.register("frame", frame)
    cast = ", ".join(f'"{c}"::{kind} AS "{c}"' for c, kind in schema.columns(model).items())
    connection.execute(f"CREATE TABLE rows AS SELECT {cast} FROM frame")
    return {
        rule.column
        for rule in schema.rules(model)
        if connection.execute(f"SELECT count(*) FROM rows WHERE {rule.broken}").fetchone() != (0,)
    }


def broken_in_python(model, row):
    """Columns that the contract refuses."""
    try:
        model.model_validate(row)
    except pydantic.ValidationError as error:
        return {fault["loc"][0] for fault in error.errors()}
    return set()


@pytest.mark.parametrize(
    ("model", "row", "broken"),
    [
        (contract.Exposure, GOOD, set()),
        (contract.Exposure, GOOD | {"player_id": -1}, {"player_id"}),
        (contract.Exposure, GOOD | {"propensity": 0}, {"propensity"}),
        (contract.Exposure, GOOD | {"propensity": 1.5}, {"propensity"}),
        (contract.Exposure, GOOD | {"propensity": math.nan}, {"propensity"}),
        (contract.Exposure, GOOD | {"propensity": math.inf}, {"propensity"}),
        (contract.Exposure, GOOD | {"revenue": "-0.01"}, {"revenue"}),
        (contract.Exposure, GOOD | {"shown_at": None}, {"shown_at"}),
        (contract.Event, EVENT, set()),
        (contract.Event, EVENT | {"product_set": "lives"}, set()),
        (contract.Event, EVENT | {"product_set": "cats"}, {"product_set"}),
        (contract.Event, EVENT | {"kind": None, "amount": -1}, {"kind", "amount"}),
    ],
)
def test_python_and_sql_refuse_the_same(model, row, broken):
    assert broken_in_python(model, row) == broken
    assert broken_in_sql(model, row) == broken


def test_a_rule_without_sql_is_an_error_not_ignored():
    class Odd(schema.Row):
        name: str = pydantic.Field(pattern="^a")

    with pytest.raises(TypeError, match="column name"):
        list(schema.rules(Odd))


def test_encoding_gives_codes_in_order_and_nan():
    class Features(schema.Row):
        platform: contract.Platform | None
        days: float | None

    selected = ", ".join(schema.encoded(Features))
    source = "(VALUES ('web', 1.5), ('android', NULL), (NULL, 2)) AS t(platform, days)"
    rows = duckdb.connect().execute(f"SELECT {selected} FROM {source}").fetchall()
    assert rows[0] == (2, 1.5)
    assert rows[1][0] == 0
    assert math.isnan(rows[1][1])
    assert math.isnan(rows[2][0])
