"""Stage train: fit the baseline and the model, export what is served, say what it is made of."""

import importlib.metadata
import json
import platform
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxmltools
import xgboost
from onnxmltools.convert.common.data_types import FloatTensorType

from . import engine, examples, params, schema, stage, tables, tracking
from .contract import TASK
from .examples import Examples
from .model import BASELINE, FOLDER, LINEAGE, ONNX, Baseline, Model, digest
from .params import Params
from .stage import StageError, progress, replacing
from .tracking import Record

LIBRARIES = ("duckdb", "numpy", "onnx", "onnxmltools", "onnxruntime", "xgboost-cpu")


def main() -> None:
    """Write models/: model.ubj as trained, model.onnx as served, baseline.json and lineage.json."""
    parameters = params.load()
    training, holdout = examples.read(parameters.engine).split(parameters.train.holdout)
    baseline = fit_baseline(parameters, training)
    with tracking.curve() as record:
        booster = fit(parameters, training, holdout, record)
    served = export(booster)
    check_parity(booster, Model(served), holdout.inputs, parameters.train.max_parity_error)
    with replacing(FOLDER) as folder:
        folder.mkdir()
        (folder / BASELINE).write_text(baseline.dump())
        (folder / "model.ubj").write_bytes(booster.save_raw("ubj"))
        (folder / ONNX).write_bytes(served)
        lines = json.dumps(lineage(parameters, folder), indent=1)
        (folder / LINEAGE).write_text(lines + "\n")


def fit_baseline(parameters: Params, training: Examples) -> Baseline:
    """The mean target of each action; raises StageError if there is no choice to learn."""
    overall, choice = float(training.target.mean()), TASK.choice
    if not choice:
        return Baseline(overall, np.empty(0, int), np.empty(0), np.empty((0, 0), np.float32))
    ids, position = np.unique(training.action_id, return_inverse=True)
    if len(ids) < 2:
        raise StageError(f"only {choice.key} {ids[0]} was ever shown: ranking needs at least two")
    means = np.bincount(position, training.target) / np.bincount(position)
    with tables.connect(parameters.engine) as connection:
        tables.read_reference(connection, choice.table)
        selected = ", ".join([choice.key, *schema.encoded(choice.features)])
        query = f"SELECT {selected} FROM {choice.table} ORDER BY {choice.key}"
        rows = connection.execute(query).df()
    rows = rows[rows.pop(choice.key).isin(ids)]
    return Baseline(overall, ids, means, rows.to_numpy(np.float32))


def fit(
    parameters: Params,
    training: Examples,
    holdout: Examples | None = None,
    record: Record = lambda *_: None,
) -> xgboost.Booster:
    """Fit the model: in this process the same examples and parameters give the same bytes.

    With a holdout, which is never learned from, the errors of each round are recorded; of a fit on
    a cluster those of the last one.
    """
    rounds, settings = parameters.train.rounds, settings_of(parameters)
    matrix = xgboost.DMatrix(training.inputs, training.target)
    watched = [(matrix, "training")]
    watched += [(xgboost.DMatrix(holdout.inputs, holdout.target), "holdout")] if holdout else []
    if parameters.engine.kind != "local":
        cluster = engine.cluster()
        booster = cluster.fit(parameters.engine, settings, rounds, training.inputs, training.target)
        record(rounds - 1, errors(booster, watched))
        return booster
    booster = xgboost.Booster(settings, [matrix])
    for number in progress(range(rounds), desc="train", unit="round"):
        booster.update(matrix, number)
        if holdout:  # who watches pays for it
            record(number, errors(booster, watched))
    return booster


def errors(
    booster: xgboost.Booster, watched: list[tuple[xgboost.DMatrix, str]]
) -> dict[str, float]:
    """Root mean squared error of each matrix by its name; as many digits as any machine gives."""
    told = booster.eval_set(watched)
    return {name: float(f"{float(x):.6g}") for name, x in re.findall(r"(\w+)-rmse:(\S+)", told)}


def settings_of(parameters: Params) -> dict[str, Any]:
    """The parameters as XGBoost calls them."""
    return {
        "objective": "reg:squarederror",
        "tree_method": "hist",
        "nthread": parameters.engine.threads,
        "seed": parameters.train.seed,
        "max_depth": parameters.train.depth,
        "learning_rate": parameters.train.learning_rate,
        "min_child_weight": parameters.train.min_child_weight,
        "subsample": parameters.train.subsample,
    }


def export(booster: xgboost.Booster) -> bytes:
    """The model as ONNX; a fixed name, as the library's own is random."""
    inputs = [("inputs", FloatTensorType([None, booster.num_features()]))]
    return onnxmltools.convert_xgboost(booster, "model", inputs).SerializeToString()


def check_parity(
    booster: xgboost.Booster, served: Model, inputs: np.ndarray, tolerance: float
) -> None:
    """Compare the served model with the trained one in every row; StageError if they differ."""
    error = np.abs(served.predict(inputs) - booster.inplace_predict(inputs))
    if (worst := float(error.max())) > tolerance:
        raise StageError(
            f"the ONNX model differs from the trained one by {worst:.2g} in the worst of "
            f"{(error > tolerance).sum()} rows, more than train.max_parity_error {tolerance}; "
            "32-bit floats hold seven digits: raise it only if the targets are large"
        )


def lineage(parameters: Params, folder: Path) -> dict:
    """What the model was made of, by content: no commit and no time; bytes depend on neither."""
    modules = (m for name, m in sys.modules.items() if name.split(".")[0] == __package__)
    code = [Path(file) for file in {__file__, *(m.__file__ for m in modules)} if file]
    return {
        "files": {name: digest(folder / name) for name in (BASELINE, ONNX)},
        "inputs": TASK.encoding,
        "data": {str(tables.OFFLINE): digest(tables.OFFLINE)},
        "parameters": parameters.model_dump(
            mode="json",
            include={"collect", "engine", "train"},
            exclude={"train": {"tracker"}},
        ),
        "code": {path.name: digest(path) for path in sorted(code)},
        "lock": digest(Path("uv.lock")),
        "python": platform.python_version(),
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
    }


if __name__ == "__main__":
    stage.run(main)
