"""The model as it is served: an ONNX file and its baseline, on numpy and onnxruntime alone."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when onnxruntime is imported

import onnxruntime

FOLDER = Path("models")
ONNX = "model.onnx"
BASELINE = "baseline.json"
LINEAGE = "lineage.json"


@dataclass(frozen=True)
class Baseline:
    """What is known without a model: the mean target of each action.

    Attributes:
        overall: mean over all examples.
        action_ids: (m,) ids that can be chosen; none when the task has no actions.
        means: (m,) mean target of each.
        inputs: (m, j) float32, what the model knows of each.
    """

    overall: float
    action_ids: np.ndarray
    means: np.ndarray
    inputs: np.ndarray

    def predict(self, action_ids: np.ndarray) -> np.ndarray:
        """The mean of each action (n,); the overall mean for one that was never seen."""
        means = dict(zip(self.action_ids.tolist(), self.means.tolist(), strict=True))
        return np.array([means.get(number, self.overall) for number in action_ids.tolist()])

    def dump(self) -> str:
        """As JSON."""
        actions = zip(
            self.action_ids.tolist(), self.means.tolist(), self.inputs.tolist(), strict=True
        )
        rows = [dict(zip(("action_id", "mean", "inputs"), row, strict=True)) for row in actions]
        return json.dumps({"overall": self.overall, "actions": rows}, indent=1) + "\n"

    @classmethod
    def load(cls, text: str) -> Self:
        """From JSON."""
        content = json.loads(text)
        columns = zip(*(row.values() for row in content["actions"]), strict=True)
        ids, means, inputs = columns if content["actions"] else ((), (), ())
        return cls(
            content["overall"],
            np.array(ids, np.int64),
            np.array(means, float),
            np.array(inputs, np.float32),
        )


class Model:
    """The served model: one call for many rows, one thread."""

    def __init__(self, content: bytes) -> None:
        """Load the content of an ONNX file; raises ValueError if it is damaged."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"the model cannot be loaded: {reason}") from None
        self._outputs = [output.name for output in self._session.get_outputs()]

    @classmethod
    def open(cls, folder: Path = FOLDER) -> Self:
        """Load the model of a folder."""
        return cls((folder / ONNX).read_bytes())

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Predictions (n,) for inputs (n, k) float32."""
        return np.asarray(self._session.run(self._outputs, {"inputs": inputs})[0])[:, 0]

    def predict_all(self, entities: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Predictions (n, m) of every entity, inputs (n, k), with every action, inputs (m, j)."""
        n, m = len(entities), len(actions)
        pairs = np.hstack([np.repeat(entities, m, axis=0), np.tile(actions, (n, 1))])
        return self.predict(pairs).reshape(n, m)


def open_lineage(encoding: dict[str, list[str]], folder: Path = FOLDER) -> dict:
    """Load what the model was made of; check by hash that the files beside it are those it names.

    Raises:
        OSError: a file is missing.
        ValueError: a file is not the one that was trained, or has other inputs than `encoding`.
    """
    try:
        lineage = json.loads((folder / LINEAGE).read_text())
        files, inputs = lineage["files"], lineage["inputs"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{folder / LINEAGE} is damaged or of another version") from None
    for name, expected in files.items():
        if digest(folder / name) != expected:
            raise ValueError(f"{folder / name} is not the file that {LINEAGE} names")
    if list(inputs.items()) != list(encoding.items()):
        raise ValueError(f"{folder / ONNX} was trained on other features than contract.py has")
    return lineage


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_baseline(folder: Path = FOLDER) -> Baseline:
    """Load the baseline of a folder."""
    return Baseline.load((folder / BASELINE).read_text())
