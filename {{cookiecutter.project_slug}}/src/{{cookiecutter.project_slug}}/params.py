"""The parameters of params.yaml, typed and checked."""

import datetime
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from .errors import StageError


class Section(BaseModel):
    """A section of params.yaml: no unknown keys, no defaults hidden in code."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Engine(Section):
    """Where and with how much partitions and fits run."""

    kind: Literal["local", "dask"]
    address: str = Field(pattern=r"^((tcp|tls|ws|wss)://\S+)?$")
    storage: str = Field(pattern=r"^((s3|gs)://[^\s?]+)?$")
    workers: int = Field(ge=1)
    threads: int = Field(ge=1)
    memory_limit: str = Field(pattern=r"^\d+(\.\d+)? ?(KB|MB|GB|TB|KiB|MiB|GiB|TiB)$")


class Collect(Section):
    """Where the tables come from, and up to when."""

    source: str = Field(min_length=1)
    until: datetime.date

    @property
    def cutoff(self) -> datetime.datetime:
        """The first moment (UTC) that is not data any more: midnight after `until`."""
        return datetime.datetime.combine(self.until, datetime.time()) + datetime.timedelta(days=1)


class Drift(Section):
    """What goes wrong in the stand-in world, from the beginning of a day on."""

    kind: Literal["feature_shift", "new_country", "concept", "stale_pipeline", "broken_feature"]
    start: datetime.date


class Simulate(Section):
    """The size and the dates of the stand-in world."""

    seed: int = Field(ge=0)
    start: datetime.date
    players: int = Field(ge=1)
    experiment_start: datetime.date
    exposures_per_day: int = Field(ge=1)
    drift: Drift | None = None


class Features(Section):
    """How the players are split for the features stage."""

    partitions: int = Field(ge=1)


class Train(Section):
    """The split and the parameters of the model."""

    holdout: float = Field(gt=0, lt=1)
    rounds: int = Field(ge=1)
    depth: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    min_child_weight: float = Field(ge=0)
    subsample: float = Field(gt=0, le=1)
    seed: int = Field(ge=0)
    max_parity_error: float = Field(gt=0)
    tracker: Literal["dvclive", "mlflow"]


Tunable = Literal["rounds", "depth", "learning_rate", "min_child_weight", "subsample"]


class Tune(Section):
    """What `make tune` tries: values of parameters of the model; how many of the best it queues."""

    trials: int = Field(ge=1)
    queued: int = Field(ge=0)
    seed: int = Field(ge=0)
    space: dict[Tunable, Annotated[list[int | float], Field(min_length=1)]] = Field(min_length=1)


class Evaluate(Section):
    """The bootstrap behind every interval."""

    resamples: int = Field(ge=20)
    confidence: float = Field(gt=0, lt=1)
    seed: int = Field(ge=0)


class Gate(Section):
    """When a model may replace another one."""

    metric: Literal["policy", "error"]
    margin: float = Field(ge=0, lt=1)
    resamples: int = Field(ge=20)
    confidence: float = Field(gt=0, lt=1)
    seed: int = Field(ge=0)
    floors: dict[str, float]


LogField = Literal[
    "time",
    "route",
    "status",
    "entity_id",
    "ranking",
    "expected",
    "served",
    "model",
    "cold_start",
    "known_until",
    "features",
    "seconds",
]


class Serve(Section):
    """Where the service listens, what it refuses and what it writes down."""

    host: str = Field(min_length=1)
    port: int = Field(ge=0, le=65535)
    workers: int = Field(ge=1)
    max_feature_age_days: float | None = Field(gt=0)
    max_body_bytes: int = Field(ge=1)
    max_body_seconds: float = Field(gt=0)
    max_concurrent: int = Field(ge=1)
    drain_seconds: int = Field(ge=1)
    log: str = Field(min_length=1)
    log_fields: tuple[LogField, ...]


class Monitor(Section):
    """What is watched, and where a figure becomes an alarm."""

    logs: str = Field(min_length=1)
    days: int = Field(ge=1)
    live_days: int = Field(ge=1)
    match_hours: float = Field(gt=0)
    alpha: float = Field(gt=0, lt=1)
    floor: float = Field(ge=0)
    confidence: float = Field(gt=0, lt=1)
    min_rows: int = Field(ge=50)
    max_feature_age_days: float = Field(gt=0)
    max_model_age_days: float = Field(gt=0)
    min_requests_a_day: int = Field(ge=0)
    max_p99_seconds: float = Field(gt=0)
    max_error_share: float = Field(ge=0, le=1)
    max_cold_start_share: float = Field(ge=0, le=1)


class Retrain(Section):
    """What a retraining may do by itself."""

    merge_within: float | None = Field(ge=0)


class Params(Section):
    """The whole of params.yaml."""

    engine: Engine
    collect: Collect
    simulate: Simulate | None = None
    features: Features
    train: Train
    tune: Tune
    evaluate: Evaluate
    gate: Gate
    serve: Serve
    monitor: Monitor
    retrain: Retrain


def load(path: Path = Path("params.yaml")) -> Params:
    """Read and check the parameters; raises StageError that names each wrong one."""
    try:
        return Params.model_validate(yaml.load(path.read_text(), Loader=yaml.CSafeLoader))
    except FileNotFoundError:
        raise StageError(f"{path} is not here: run from the project's root") from None
    except yaml.YAMLError as error:
        raise StageError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        raise StageError(f"{path}: " + "; ".join(map(_sentence, error.errors()))) from None


def _sentence(error: ErrorDetails) -> str:
    name = ".".join(map(str, error["loc"])) or "the file"
    if error["type"] == "extra_forbidden":
        return f"{name} is not a parameter; remove it or mend its name"
    if error["type"] == "missing":
        return f"{name} is missing"
    return f"{name}: {error['msg']} (it is {error['input']!r})"
