"""The contract of another project: how a disease of some patients progresses; nothing to choose."""

import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from .schema import Row, Task

Id = Annotated[int, Field(ge=0)]
Sex = Literal["a", "b"]


class PatientFeatures(Row):
    """What is measured of a patient."""

    age: Annotated[int, Field(ge=0, le=120)]
    sex: Sex
    bmi: float
    bp: float
    s1: float
    s2: float
    s3: float
    s4: float
    s5: float
    s6: float


class Patient(PatientFeatures):
    """Somebody who was measured once."""

    KEY: ClassVar = ("patient_id",)
    patient_id: Id


class Visit(Row):
    """How far the disease progressed."""

    KEY: ClassVar = ("visit_id",)
    REFERENCES: ClassVar = {"patient_id": "patients"}
    visit_id: Id
    patient_id: Id
    seen_at: datetime.datetime
    progression: float


TABLES: dict[str, type[Row]] = {"patients": Patient, "visits": Visit}
REFERENCE_TABLES: dict[str, type[Row]] = {}

TASK = Task(
    entities="patients",
    examples="visits",
    example_id="visit_id",
    entity_id="patient_id",
    moment="seen_at",
    target="progression",
    features=PatientFeatures,
    slices=("sex",),
)
