"""The offline table as arrays: what training and evaluation learn from, oldest first."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from . import schema, tables
from .contract import TASK
from .params import Engine
from .stage import StageError


@dataclass(frozen=True)
class Examples:
    """Examples in the order of their moments.

    Attributes:
        entity_id, target: (n,).
        inputs: (n, k) float32, in the order of TASK.feature_names; NaN where nothing is known.
        action_id, propensity: (n,); all 0 and 1 when the task has no actions.
        slices: column → (n,) values by which errors are reported apart.
    """

    entity_id: np.ndarray
    target: np.ndarray
    inputs: np.ndarray
    action_id: np.ndarray
    propensity: np.ndarray
    slices: dict[str, np.ndarray]

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.target)

    def take(self, rows: slice | np.ndarray) -> Self:
        """Some of the rows."""
        arrays = (self.entity_id, self.target, self.inputs, self.action_id, self.propensity)
        slices = {name: values[rows] for name, values in self.slices.items()}
        return type(self)(*(array[rows] for array in arrays), slices)

    def split(self, holdout: float) -> tuple[Self, Self]:
        """The older examples to learn from, and the newest share of them to be judged by."""
        first = round(len(self) * (1 - holdout))
        if not 0 < first < len(self):
            raise StageError(f"{len(self)} examples are too few to hold out a share of {holdout}")
        return self.take(slice(0, first)), self.take(slice(first, None))


def read(engine: Engine, path: Path = tables.OFFLINE) -> Examples:
    """Read the offline table; raises StageError if it is missing, broken or empty."""
    inputs = schema.encoded(TASK.features)
    chosen = ["0 AS action_id", "1.0 AS propensity"]
    if TASK.choice:
        inputs += schema.encoded(TASK.choice.features)
        chosen = ["action_id", "propensity"]
    slices = [f'"{name}" AS "slice_{name}"' for name in TASK.slices]
    with tables.connect(engine) as connection:
        tables.view(connection, "offline", path)
        selected = ", ".join(["entity_id", "target", *chosen, *slices, *inputs])
        columns = connection.execute(f"SELECT {selected} FROM offline").df()
    return Examples(
        entity_id=columns["entity_id"].to_numpy(),
        target=columns["target"].to_numpy(),
        inputs=columns[list(TASK.feature_names)].to_numpy(np.float32),
        action_id=columns["action_id"].to_numpy(),
        propensity=columns["propensity"].to_numpy(float),
        slices={name: columns[f"slice_{name}"].to_numpy(str) for name in TASK.slices},
    )
