"""What DVC's experiments and MLflow know of a training: its curve, its parameters, its metrics.

DVCLive writes the curve into reports/training while a fit runs. With `train.tracker: mlflow` the
evaluation brings all to an MLflow server as well. No byte of a model depends on it.
"""

import contextlib
import csv
import json
import os
import re
import sys
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

from . import model
from .stage import StageError

FOLDER = Path("reports/training")
ADDRESS = "MLFLOW_TRACKING_URI"
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
SOME = 500  # of the metrics that a server takes at once

Record = Callable[[int, dict[str, float]], None]


@contextlib.contextmanager
def curve() -> Generator[Record]:
    """Give a function that writes the figures of one round."""
    from dvclive import Live  # only here: it brings DVC with it

    with Live(dir=str(FOLDER), dvcyaml=None, save_dvc_exp=False) as live:

        def record(number: int, figures: dict[str, float]) -> None:
            live.step = number
            for name, value in figures.items():
                live.log_metric(f"{name}/rmse", value)
            live.make_summary()

        yield record


def server() -> Any:
    """A client of the MLflow server that the environment names; StageError if it cannot be had."""
    address = os.environ.get(ADDRESS, "")
    if not re.match("https?://", address):
        raise StageError(
            f"train.tracker is mlflow and {ADDRESS} names no server: "
            f"export {ADDRESS}=http://127.0.0.1:5000"
        )
    os.environ.update(PATIENCE | os.environ)
    try:
        import mlflow
    except ModuleNotFoundError as error:
        raise StageError(
            f"train.tracker is mlflow and {error.name} is not installed: uv sync --group tracking"
        ) from None
    return mlflow.MlflowClient(address)


def tell(client: Any, metrics: dict[str, Any]) -> None:
    """Make one run on the server of what lies in models/, reports/training and the metrics.

    A server that does not take it costs a warning and nothing else: it is all in the files.
    """
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.exceptions import MlflowException

    now = int(time.time() * 1000)
    lineage = json.loads((model.FOLDER / model.LINEAGE).read_text())
    points = [Metric(name, value, now, step) for name, step, value in (*_curve(), *_flat(metrics))]
    sections = lineage["parameters"].items()
    named = {f"{s}.{key}": str(value) for s, section in sections for key, value in section.items()}
    tags = {"model": lineage["files"][model.ONNX], **lineage["data"]}
    try:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or str(__package__)
        known = client.get_experiment_by_name(name)
        number = known.experiment_id if known else client.create_experiment(name)
        run = client.create_run(number, run_name=os.environ.get("DVC_EXP_NAME")).info.run_id
        facts = [Param(*item) for item in named.items()], [RunTag(*item) for item in tags.items()]
        client.log_batch(run, (), *facts)
        for first in range(0, len(points), SOME):
            client.log_batch(run, points[first : first + SOME])
        client.set_terminated(run)
    except MlflowException as error:
        reason = re.sub("//[^/@ ]*@", "//", str(error).splitlines()[0])[:200]
        print(f"WARNING: MLflow was not told of this model: {reason}", file=sys.stderr)


def _curve() -> Iterator[tuple[str, int, float]]:
    for path in sorted((FOLDER / "plots/metrics").glob("*/*.tsv")):
        with path.open() as lines:
            for row in csv.DictReader(lines, delimiter="\t"):
                yield f"{path.parent.name}.{path.stem}", int(row["step"]), float(row[path.stem])


def _flat(metrics: dict[str, Any], name: str = "") -> Iterator[tuple[str, int, float]]:
    for key, value in metrics.items():
        full = f"{name}.{key}".strip(".").removesuffix(".value")
        if isinstance(value, dict):
            yield from _flat(value, full)
        elif value is not None:
            yield full, 0, value
