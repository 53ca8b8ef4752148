"""What a ranking costs, beside its floors: bare ASGI, an empty request, a dict, an import.

`python benchmarks/serving.py PROJECT [MINUTES]` takes a default project that is reproduced, gives
it a million players and twenty promotions, and needs wrk. CPU is that of the serving process; every
ratio is the median of ratios inside a round. With MINUTES it then loads the service for so long and
shows its memory.
"""

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from load import ASK, PORT, memory, running, send

PLAYERS, ACTIONS = 1_000_000, 20
SECONDS, ROUNDS = 4, 5
# each a program for the project's Python
SERVED = Path(__file__).resolve().parent / "served"
APPS = {"bare ASGI": "bare.py", "empty POST": "echo.py", "rank of 20": "rank.py"}
RANK = (SERVED / "rank.py", str(PORT))
LIBRARIES = "httptools, lmdb, msgspec, onnxruntime, prometheus_client, pydantic, uvicorn, uvloop"
IMPORTS = f"import {LIBRARIES}, yaml"
LUA = f"""
request = function()
  local body = '{{"player_id": ' .. math.random(0, {PLAYERS - 1}) .. '}}'
  return wrk.format("POST", "/rank", {{["content-type"] = "application/json"}}, body)
end
"""


def child_cpu(command: list[str | Path]) -> float:
    """CPU seconds of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare_requests(python: Path) -> None:
    """Print the applications side by side."""
    rows: dict[str, list[tuple[float, ...]]] = {name: [] for name in APPS}
    for _ in range(ROUNDS):
        for name, program in APPS.items():
            with running([python, SERVED / program, str(PORT)]) as pid:
                send(pid, 1)
                *figures, failed = send(pid, SECONDS)
                rows[name].append((*figures, memory(pid)))
                if failed:
                    raise SystemExit(f"{name}: {failed} requests failed")
    print(
        "| 16 connections | CPU µs a request | p50 ms | p99 ms | memory MB |\n|---|--:|--:|--:|--:|"
    )
    for name, figures in rows.items():
        middle = [statistics.median(column) for column in zip(*figures, strict=True)]
        print(f"| {name} | {middle[0]:.0f} | {middle[1]:.2f} | {middle[2]:.2f} | {middle[3]:.0f} |")

    def ratio(one: str, other: str, column: int) -> float:
        pairs = zip(rows[one], rows[other], strict=True)
        return statistics.median(a[column] / b[column] for a, b in pairs)

    print(f"\nempty POST ÷ bare ASGI, CPU: {ratio('empty POST', 'bare ASGI', 0):.2f} (at most 2)")
    print(f"rank ÷ empty POST, CPU: {ratio('rank of 20', 'empty POST', 0):.2f} (at most 2)")
    print(f"rank ÷ empty POST, p99: {ratio('rank of 20', 'empty POST', 2):.2f} (at most 4)")
    print(
        f"rank ÷ bare ASGI with onnxruntime, memory: {ratio('rank of 20', 'bare ASGI', 3):.2f} (2)"
    )


def compare_lookups(python: Path) -> None:
    """Print the store beside a dict and a scan; and Redis, where it and its library are at hand."""
    command = [python, SERVED / "lookup.py", str(PLAYERS), str(PORT + 1)]
    text = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    times = {line.split()[0]: [float(x) for x in line.split()[1:]] for line in text.splitlines()}
    for name, (first, *rest) in times.items():
        tail = f", p99 {1e6 * rest[0]:.1f}" if rest else ""
        print(f"{name}: {1e6 * first:.1f} µs{tail}")
    print(f"store ÷ dict, p50: {times['store'][0] / times['dict'][0]:.1f} (at most 5)")
    print(f"scan ÷ store, p50: {times['scan'][0] / times['store'][0]:.0f} (at least 1000)")
    if "redis" in times:
        print(f"redis ÷ store, p50: {times['redis'][0] / times['store'][0]:.0f}")


def compare_starts(python: Path) -> None:
    """Print the start to the first 200 beside the imports that it cannot do without."""
    ratios = []
    for _ in range(ROUNDS):
        floor = child_cpu([python, "-c", IMPORTS])
        ratios.append(child_cpu([python, SERVED / "start.py", str(PORT)]) / floor)
    print(f"start to ready ÷ imports, CPU: {statistics.median(ratios):.2f} (at most 1.5)")


def soak(python: Path, minutes: int) -> None:
    """Print the memory of the service under load, minute by minute."""
    with running([python, *RANK]) as pid:
        for minute in range(minutes):
            *_, failed = send(pid, 60)
            print(f"minute {minute + 1}: {memory(pid):.1f} MB, {failed} failed", flush=True)


@contextmanager
def world(project: Path) -> Iterator[Path]:
    """Make the large world in a copy, the working directory until the block ends; its Python."""
    if not shutil.which("wrk"):
        raise SystemExit("ERROR: the load comes from wrk: install it, for example by apt-get")
    python = project.resolve() / ".venv/bin/python"
    with tempfile.TemporaryDirectory() as folder:
        for name in ("params.yaml", "models", "data/features/online.lmdb"):
            target = Path(folder, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if (project / name).is_dir() else shutil.copy)(project / name, target)
        os.chdir(folder)
        ASK.write_text(LUA)
        subprocess.run([python, SERVED / "world.py", str(PLAYERS), str(ACTIONS)], check=True)
        yield python


def main() -> None:
    """Measure in the large world."""
    with world(Path(sys.argv[1])) as python:
        compare_requests(python)
        print()
        compare_lookups(python)
        print()
        compare_starts(python)
        if len(sys.argv) > 2:
            soak(python, int(sys.argv[2]))


if __name__ == "__main__":
    main()
