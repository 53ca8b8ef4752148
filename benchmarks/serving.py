"""What a ranking costs, beside its floors: bare ASGI, an empty request, a dict, an import.

`python benchmarks/serving.py PROJECT [MINUTES]` takes a default project that is reproduced, gives
it a million players and twenty promotions, and needs wrk. CPU is that of the serving process; every
ratio is the median of ratios inside a round. With MINUTES it then loads the service for so long and
shows its memory.
"""

import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PLAYERS, ACTIONS, PORT = 1_000_000, 20, 8791
SECONDS, ROUNDS = 4, 5
TICK = os.sysconf("SC_CLK_TCK")

WORLD = f"""
import json
import numpy as np
from promotion_ranker import model, schema, store
from promotion_ranker.contract import TASK
folder = model.FOLDER
baseline = json.loads((folder / model.BASELINE).read_text())
some = baseline["actions"]
baseline["actions"] = [some[n % len(some)] | {{"action_id": n + 1}} for n in range({ACTIONS})]
(folder / model.BASELINE).write_text(json.dumps(baseline))
lineage = json.loads((folder / model.LINEAGE).read_text())
lineage["files"][model.BASELINE] = model.digest(folder / model.BASELINE)
(folder / model.LINEAGE).write_text(json.dumps(lineage))
with store.Store(store.ONLINE) as old:
    ids = np.arange(old.meta["count"])
    rows, known_until = old.get(ids.tolist())
    encoding, cutoff = old.meta["features"], old.meta["cutoff"]
chosen = np.random.default_rng(7).integers(0, len(ids), {PLAYERS})
store.build("new", encoding, cutoff, [(np.arange({PLAYERS}), known_until[chosen], rows[chosen])])
store.Path("new").replace(store.ONLINE)
import duckdb
import pandas as pd
frame = pd.DataFrame(rows[chosen], columns=list(encoding)).rename_axis("entity_id").reset_index()
duckdb.sql("COPY frame TO 'table.parquet' (FORMAT parquet)")
"""

SERVER = "uvicorn.run(app, port={port}, lifespan='off', ws='none', access_log=False)"
BARE = f"""
import json, onnxruntime, uvicorn
answer = b'{{"ok":true}}'
async def app(scope, receive, send):
    json.loads((await receive())["body"])
    headers = [(b"content-type", b"application/json"), (b"content-length", b"11")]
    await send({{"type": "http.response.start", "status": 200, "headers": headers}})
    await send({{"type": "http.response.body", "body": answer}})
{SERVER.format(port=PORT)}
"""
ECHO = f"""
import uvicorn
from promotion_ranker.serving.messages import Answer, Rank, parse
from promotion_ranker.serve import create
app = create()
async def echo(body):
    parse(Rank, body)
    return Answer(b'{{"ok":true}}')
app._posts["/rank"] = echo
{SERVER.format(port=PORT)}
"""
RANK = f"""
import uvicorn
from promotion_ranker.serve import create
app = create()
{SERVER.format(port=PORT)}
"""
APPS = {"bare ASGI": BARE, "empty POST": ECHO, "rank of 20": RANK}
LIBRARIES = "httptools, lmdb, msgspec, onnxruntime, prometheus_client, pydantic, uvicorn, uvloop"
IMPORTS = f"import {LIBRARIES}, yaml"
READY = f"""
import asyncio, sys, threading, time, urllib.request, os
from promotion_ranker import serve
def look():
    while True:
        try:
            urllib.request.urlopen("http://127.0.0.1:{PORT}/readyz")
            os._exit(0)
        except OSError:
            time.sleep(0.002)
threading.Thread(target=look, daemon=True).start()
os.environ["PORT"] = "{PORT}"
serve.main()
"""
LOOKUP = f"""
import importlib.util, random, shutil, statistics, subprocess, time
import duckdb
from promotion_ranker import store
random.seed(7)
ids = [random.randrange({PLAYERS}) for _ in range(20_000)]
start = time.perf_counter()
opened = store.Store(store.ONLINE)
print("open", time.perf_counter() - start)
def measure(look, ids):
    times = []
    for number in ids:
        start = time.perf_counter()
        look(number)
        times.append(time.perf_counter() - start)
    times.sort()
    return times[len(times) // 2], times[int(len(times) * 0.99)]
rows, _ = opened.get(range({PLAYERS}))
table = {{number: row.tobytes() for number, row in enumerate(rows)}}
connection = duckdb.connect()
def scan(number):
    connection.execute(f"SELECT * FROM 'table.parquet' WHERE entity_id = {{number}}").fetchall()
print("dict", *measure(table.__getitem__, ids))
print("store", *measure(lambda number: opened.get([number]), ids))
print("scan", *measure(scan, ids[:15]))
if importlib.util.find_spec("redis") and shutil.which("redis-server"):
    from promotion_ranker import redis_store
    command = ["redis-server", "--port", "{PORT + 1}", "--bind", "127.0.0.1", "--save", ""]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    time.sleep(2)
    meta = opened.meta
    opened.close()  # the publication opens the file, too
    try:
        url, start = "redis://127.0.0.1:{PORT + 1}", time.perf_counter()
        redis_store.publish(store.ONLINE, url)
        print("publish", time.perf_counter() - start)
        redis = redis_store.RedisStore(url, meta["features"])
        print("redis", *measure(lambda number: redis.get([number]), ids))
    finally:
        server.terminate()
"""
LUA = f"""
request = function()
  local body = '{{"player_id": ' .. math.random(0, {PLAYERS - 1}) .. '}}'
  return wrk.format("POST", "/rank", {{["content-type"] = "application/json"}}, body)
end
"""


@contextmanager
def running(
    command: list[str | Path], path: str = "/rank", body: str = '{"player_id": 1}'
) -> Iterator[int]:
    """Run a server, from its first answer until the block ends; its process id."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, **quiet)
    try:
        for _ in range(6000):
            if process.poll() is not None:
                raise SystemExit(f"the server ended at once: {command}")
            try:
                headers = {"content-type": "application/json"}
                url = f"http://127.0.0.1:{PORT}{path}"
                urllib.request.urlopen(urllib.request.Request(url, body.encode(), headers)).close()
                break
            except OSError:
                time.sleep(0.02)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def cpu(pid: int) -> float:
    """CPU seconds of a process and those that it started, so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    children = (file.read_text().split() for file in Path(f"/proc/{pid}/task").glob("*/children"))
    started = sum(cpu(int(child)) for some in children for child in some)
    return (int(fields[11]) + int(fields[12])) / TICK + started


def memory(pid: int) -> float:
    """Memory of a process in MB, without the pages of the table, which all workers share."""
    text = Path(f"/proc/{pid}/smaps").read_text()
    mappings = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", text, flags=re.MULTILINE)[1:]
    own = [m for m in mappings if "online.lmdb" not in m.partition("\n")[0]]
    return sum(int(re.findall(r"^Pss:\s+(\d+)", m, re.MULTILINE)[0]) for m in own) / 1024


def load(pid: int, seconds: int, connections: int = 16) -> tuple[float, float, float, int]:
    """CPU microseconds a request, p50 and p99 in milliseconds, and requests that failed."""
    before = cpu(pid)
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", "ask.lua"]
    url = f"http://127.0.0.1:{PORT}"
    text = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    requests = int(re.findall(r"(\d+) requests in", text)[0])
    p50, p99 = (
        _milliseconds(re.findall(rf"^\s+{share}%\s+(\S+)", text, re.MULTILINE)[0])
        for share in (50, 99)
    )
    failed = sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", text)))
    return 1e6 * (cpu(pid) - before) / requests, p50, p99, failed


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit]


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
        for name, code in APPS.items():
            with running([python, "-c", code]) as pid:
                load(pid, 1)
                *figures, failed = load(pid, SECONDS)
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
    text = subprocess.run(
        [python, "-c", LOOKUP], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
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
        ratios.append(child_cpu([python, "-c", READY]) / floor)
    print(f"start to ready ÷ imports, CPU: {statistics.median(ratios):.2f} (at most 1.5)")


def soak(python: Path, minutes: int) -> None:
    """Print the memory of the service under load, minute by minute."""
    with running([python, "-c", RANK]) as pid:
        for minute in range(minutes):
            *_, failed = load(pid, 60)
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
        Path("ask.lua").write_text(LUA)
        subprocess.run([python, "-c", WORLD], check=True)
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
