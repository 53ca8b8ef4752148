"""What the features cost as the events grow: within one memory limit, here and on two workers.

`python benchmarks/scale.py PROJECT [MILLIONS …]` takes a default project that is set up, with the
group cluster for the workers; it makes up so many million events (1, 10 and 50 unless told
otherwise) in a folder of its own and runs the stage on them. CPU seconds are of all processes,
memory is of the largest one.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MEMORY_LIMIT = "600MB"
MILLIONS_A_PARTITION = 4
PARAMETERS = """
import sys, yaml
content = yaml.safe_load(open(sys.argv[1]))
content["engine"] |= {"kind": sys.argv[2], "memory_limit": sys.argv[3], "threads": 1, "workers": 2}
content["features"]["partitions"] = int(sys.argv[4])
yaml.safe_dump(content, open("params.yaml", "w"))
"""
WORLD = """
import sys, duckdb
millions = int(sys.argv[1])
events, players, exposures = millions * 1_000_000, millions * 18_000, millions * 110_000
connection = duckdb.connect(config={"threads": 1, "memory_limit": "2GB"})
connection.execute("SET enable_progress_bar = false")
def pick(values, salt):
    return f"{values}[1 + (hash(i + {salt}) % {len(values)})::INT]"
def day(first, days, salt):
    seconds = f"(hash(i + {salt}) % {days * 86400})::INT"
    return f"TIMESTAMP '{first}' + to_seconds({seconds})"
def write(name, columns, rows):
    query = f"SELECT {columns} FROM range({rows}) AS numbers(i)"
    connection.execute(f"COPY ({query}) TO 'data/raw/{name}.parquet' (FORMAT parquet)")
countries, platforms = ["BR", "DE", "IN", "JP", "US"], ["android", "ios", "web"]
write("players", f"i AS player_id, {pick(countries, 1)} AS country, "
      f"{pick(platforms, 2)} AS platform, TIMESTAMP '2026-01-01' AS registered_at", players)
bought = "(hash(i + 3) % 10 = 0)"
write("events", f"i * {players} // {events} AS player_id, {day('2026-01-02', 179, 4)} AS at, "
      f"if({bought}, 'purchase', 'session') AS kind, "
      f"if({bought}, {pick(['boosts', 'coins', 'lives', 'skins'], 5)}, NULL) AS product_set, "
      f"if({bought}, (hash(i + 6) % 2000) / 100, 0)::DECIMAL(18, 2) AS amount, "
      f"if({bought}, 0, (hash(i + 7) % 3600)::BIGINT) AS seconds", events)
write("exposures", f"i AS exposure_id, (hash(i + 8) % {players})::BIGINT AS player_id, "
      f"1 + i % 12 AS promotion_id, 1 / 12 AS propensity, {day('2026-04-07', 78, 9)} AS shown_at, "
      f"{day('2026-04-07', 78, 9)} + INTERVAL 7 DAY AS matured_at, "
      f"0::DECIMAL(18, 2) AS revenue", exposures)
"""


def measure(command: list[str | Path]) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and the peak memory of the largest process in MB."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command} ended with {status}")
    wall = time.perf_counter() - start
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    """Print a row for each size and engine; both must give the same bytes."""
    project = Path(sys.argv[1]).resolve()
    python = project / ".venv/bin/python"
    missing = subprocess.run([python, "-c", "import distributed"], capture_output=True).returncode
    kinds = ["local"] if missing else ["local", "dask"]
    print(f"DuckDB within {MEMORY_LIMIT}, one thread a process")
    print("| million events | partitions | engine | wall s | CPU s | largest process MB |")
    print("|--:|--:|---|--:|--:|--:|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("data/raw").mkdir(parents=True)
        Path("data/promotions.csv").symlink_to(project / "data/promotions.csv")
        for millions in [int(word) for word in sys.argv[2:]] or [1, 10, 50]:
            subprocess.run([python, "-c", WORLD, str(millions)], check=True)
            partitions = str(max(2, millions // MILLIONS_A_PARTITION))
            made = set()
            for kind in kinds:
                given = [str(project / "params.yaml"), kind, MEMORY_LIMIT, partitions]
                subprocess.run([python, "-c", PARAMETERS, *given], check=True)
                cost = measure([python, "-m", "promotion_ranker.features"])
                made.add(Path("data/features/offline.parquet").read_bytes())
                words = "| {} | {} | {} | {:.0f} | {:.0f} | {:.0f} |"
                print(words.format(millions, partitions, kind, *cost), flush=True)
            if len(made) > 1:
                raise SystemExit("the engines differ")


if __name__ == "__main__":
    main()
