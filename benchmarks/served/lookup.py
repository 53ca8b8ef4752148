"""Look players up in the store, a dict, a scan and, where it is at hand, Redis.

`lookup.py PLAYERS PORT` prints a name with seconds a line: p50 and p99, or how long a step took.
"""

import importlib.util
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import duckdb
from promotion_ranker import store

LOOKS, SCANS = 20_000, 15


def measure(look: Callable[[int], object], ids: Sequence[int]) -> tuple[float, float]:
    """Seconds of a look-up, p50 and p99."""
    times = []
    for number in ids:
        start = time.perf_counter()
        look(number)
        times.append(time.perf_counter() - start)
    times.sort()
    return times[len(times) // 2], times[int(len(times) * 0.99)]


def measure_redis(ids: Sequence[int], encoding: dict, port: int) -> None:
    """Publish the table to a Redis of our own, and look there."""
    from promotion_ranker import redis_store

    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    time.sleep(2)
    try:
        url, start = f"redis://127.0.0.1:{port}", time.perf_counter()
        redis_store.publish(store.ONLINE, url)
        print("publish", time.perf_counter() - start)
        redis = redis_store.RedisStore(url, encoding)
        print("redis", *measure(lambda number: redis.get([number]), ids))
    finally:
        server.terminate()


def main(players: int, port: int) -> None:
    """Print a line for each."""
    random.seed(7)
    ids = [random.randrange(players) for _ in range(LOOKS)]  # noqa: S311
    start = time.perf_counter()
    opened = store.Store(store.ONLINE)
    print("open", time.perf_counter() - start)
    rows, _ = opened.get(range(players))
    table = {number: row.tobytes() for number, row in enumerate(rows)}
    connection = duckdb.connect()

    def scan(number: int) -> None:
        found = f"SELECT * FROM 'table.parquet' WHERE entity_id = {number}"
        connection.execute(found).fetchall()

    print("dict", *measure(table.__getitem__, ids))
    print("store", *measure(lambda number: opened.get([number]), ids))
    print("scan", *measure(scan, ids[:SCANS]))
    encoding = opened.meta["features"]
    opened.close()  # a publication opens the file, too
    if importlib.util.find_spec("redis") and shutil.which("redis-server"):
        measure_redis(ids, encoding, port)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
