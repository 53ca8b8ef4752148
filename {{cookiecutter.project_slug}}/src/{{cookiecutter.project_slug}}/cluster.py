"""A Dask cluster: started here, or somebody's by its address. Imported only where it is chosen.

Whatever happens to its processes, a run ends with all results or with one StageError.
Source: https://distributed.dask.org/en/stable/resilience.html
"""

import asyncio
import contextlib
import hashlib
import importlib.metadata
import logging
import os
import platform
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import dask
import dask.array
import numpy as np
from distributed import CancelledError, Client, Future, KilledWorker, LocalCluster, Security, wait
from distributed.comm import CommClosedError
from distributed.comm import connect as connect_to

from .params import Engine
from .stage import StageError

if TYPE_CHECKING:
    import xgboost

Item = TypeVar("Item")
Result = TypeVar("Result")

LIBRARIES = ("dask", "distributed", "duckdb", "numpy", "xgboost-cpu")
CONNECT_SECONDS = 15
IDLE_SECONDS = 60  # without any worker that could work, before a run gives up
LOOK_SECONDS = 1


def _versions() -> dict[str, str]:
    """What must be the same on every machine: else the results would not be."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.[ps][yq]*")):
        digest.update(path.name.encode() + path.read_bytes())
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    python = ".".join(platform.python_version_tuple()[:2])  # a patch of it changes no result
    return {"python": python, **versions, "code": digest.hexdigest()[:12]}


VERSIONS = _versions()  # at import, as code that is changed later is not what runs


@contextlib.contextmanager
def connect(engine: Engine) -> Generator[Client]:
    """Connect to the cluster at ENGINE_ADDRESS or engine.address, or start one on this machine.

    Raises:
        StageError: it is not there.
    """
    address = os.environ.get("ENGINE_ADDRESS") or engine.address
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # one sentence says it below
    dask.config.set({"distributed.comm.timeouts.connect": CONNECT_SECONDS})
    with contextlib.ExitStack() as stack:
        try:
            client = stack.enter_context(_client(address, engine.workers))
        except (OSError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise StageError(
                f"no Dask scheduler answers at {address or 'this machine'} ({reason}): start it, "
                "mend engine.address or ENGINE_ADDRESS, or set engine.kind to local"
            ) from None
        if sys.stderr.isatty():
            print(f"Dask's dashboard: {client.dashboard_link}", file=sys.stderr)
        yield client


@contextlib.contextmanager
def _client(address: str, workers: int) -> Generator[Client]:
    if address:
        asyncio.run(_greet(address))
        with Client(address, timeout=CONNECT_SECONDS) as client:
            yield client
        return
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            memory_limit=0,  # DuckDB keeps its own; a paused worker would wait for ever
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        ) as started,
        Client(started, timeout=CONNECT_SECONDS) as client,
    ):
        yield client


async def _greet(address: str) -> None:
    """Raise OSError if nobody answers as a scheduler: a Client would wait for ever."""
    arguments = Security().get_connection_args("client")
    comm = await asyncio.wait_for(connect_to(address, **arguments), CONNECT_SECONDS)
    comm.abort()


def map_partitions(
    engine: Engine, task: Callable[[Item], Result], partitions: Sequence[Item]
) -> Iterator[Result]:
    """Run the task for each partition on the workers; the results come as they are done."""
    with connect(engine) as client:
        yield from results(client, task, partitions)


def fit(
    engine: Engine, settings: dict[str, Any], rounds: int, inputs: np.ndarray, target: np.ndarray
) -> "xgboost.Booster":
    """Fit on engine.workers workers, each with its share of every day; StageError if one is lost.

    As good as a fit in one process, but never the same: quantiles are merged from the shares.
    """
    import xgboost  # only here: the features need not wait for it
    from xgboost import dask as distributed
    from xgboost.collective import Config

    order = np.argsort(np.arange(len(target)) % engine.workers, kind="stable")
    share = -(-len(target) // engine.workers)
    with connect(engine) as client, _telling():
        try:
            client.wait_for_workers(engine.workers, timeout=IDLE_SECONDS)
        except TimeoutError:
            raise StageError(
                f"the cluster had fewer than engine.workers = {engine.workers} workers for "
                f"{IDLE_SECONDS} seconds: start more, or lower it"
            ) from None
        client.run(_compare, VERSIONS)
        rows = dask.array.from_array(inputs[order], chunks=(share, -1))
        targets = dask.array.from_array(target[order], chunks=share)
        matrix = distributed.DaskDMatrix(client, rows, targets)
        limits = Config(retry=1, timeout=IDLE_SECONDS)
        try:
            return distributed.train(
                client, settings, matrix, num_boost_round=rounds, coll_cfg=limits
            )["booster"]
        except (xgboost.core.XGBoostError, TimeoutError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise StageError(f"a worker was lost while the model was fitted: {reason}") from None


def results(
    client: Client, task: Callable[[Item], Result], items: Sequence[Item]
) -> Iterator[Result]:
    """Yield the results of the task for all items; StageError says why they cannot come."""
    pending = set(client.map(partial(_run, VERSIONS, task), items, pure=False))
    working = time.monotonic()
    while pending:
        with _telling():
            done, pending = _wait(pending)
            for future in done:
                yield future.result()
            if done or _is_staffed(client):
                working = time.monotonic()
        if time.monotonic() - working > IDLE_SECONDS:
            raise StageError(
                f"the cluster has had no worker that works for {IDLE_SECONDS} seconds: start "
                f"workers, or look why they stopped at {client.dashboard_link}"
            )


@contextlib.contextmanager
def _telling() -> Generator[None]:
    """Tell what happened on the cluster in one sentence."""
    try:
        yield
    except KilledWorker:
        raise StageError(
            "workers died again and again over the same partition, most likely out of memory: "
            "raise features.partitions or the workers' memory, or lower engine.memory_limit"
        ) from None
    except (CancelledError, CommClosedError):
        raise StageError(
            "the connection to the scheduler was lost; nothing was replaced, run again when it is "
            "back"
        ) from None
    except ModuleNotFoundError as error:
        raise StageError(
            f"a worker has no module {error.name}: start scheduler and workers in the environment "
            "of this commit, made by uv sync --group cluster"
        ) from None


def _wait(pending: set[Future]) -> tuple[set[Future], set[Future]]:
    try:
        return wait(pending, timeout=LOOK_SECONDS, return_when="FIRST_COMPLETED")
    except TimeoutError:
        return set(), pending


def _is_staffed(client: Client) -> bool:
    try:
        return client.run_on_scheduler(lambda dask_scheduler: bool(dask_scheduler.running))
    except OSError:  # it is gone: then the partitions are lost, which the next look tells
        return False


def _run(expected: dict[str, str], task: Callable[[Item], Result], item: Item) -> Result:
    _compare(expected)
    return task(item)


def _compare(expected: dict[str, str]) -> None:
    differ = [name for name, version in expected.items() if VERSIONS[name] != version]
    if differ:
        theirs, ours = ("; ".join(f"{n} {v[n]}" for n in differ) for v in (VERSIONS, expected))
        raise StageError(
            f"the worker on {platform.node()} has {theirs}, this project has {ours}: restart the "
            "workers from the same commit and uv.lock"
        )
