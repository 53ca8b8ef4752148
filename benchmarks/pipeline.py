"""What the pipeline costs, stage by stage, and the features beside the same SQL written by hand.

`python benchmarks/pipeline.py [FACTOR …]` renders the default project and runs its stages on a
world FACTOR times as large as the example (1 and 10 unless told otherwise), then rebuilds the
online store alone, as `make refresh` does. CPU seconds and peak memory are the operating system's,
of the process and all that it starts.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
STAGES = ("collect", "features", "train", "evaluate", "report")
FEATURES = ("-m", "promotion_ranker.features")
REBUILD = """
from promotion_ranker import features, params, store, tables
features.compute(params.load(), tables.RAW, None, store.ONLINE)
"""
REBUILD_BY_HAND = """
import duckdb, lmdb, numpy as np
connection = duckdb.connect(config={"threads": 2, "memory_limit": "2GB", "temp_directory": "spill"})
for name in ("players", "events"):
    connection.execute(f"CREATE VIEW {name} AS SELECT * FROM 'data/raw/{name}.parquet'")
connection.execute(
    "CREATE VIEW moments AS SELECT player_id AS moment_id, player_id, "
    "TIMESTAMP '2026-07-01' AS at FROM players"
)
definition = open("src/promotion_ranker/features.sql").read()
columns = connection.execute(
    "SELECT * REPLACE (epoch_us(known_until) AS known_until, "
    "list_position(['BR', 'DE', 'IN', 'JP', 'US'], country) - 1 AS country, "
    f"list_position(['android', 'ios', 'web'], platform) - 1 AS platform) FROM ({definition}) "
    "ORDER BY moment_id"
).fetchnumpy()
ids, known_until = (np.asarray(columns.pop(name)) for name in ("moment_id", "known_until"))
rows = np.empty(len(ids), [("known_until", "<i8"), ("features", "<f4", (len(columns),))])
rows["known_until"] = known_until
rows["features"] = np.column_stack([np.ma.filled(x.astype("f4"), np.nan) for x in columns.values()])
open("by-hand.lmdb", "wb").close()
environment = lmdb.open("by-hand.lmdb", subdir=False, lock=False, map_size=1 << 34)
keys, values = ids.astype(">u8").tobytes(), rows.tobytes()
size = rows.dtype.itemsize
with environment.begin(write=True) as transaction, transaction.cursor() as cursor:
    pairs = ((keys[8*i:8*i + 8], values[size*i:size * (i+1)]) for i in range(len(ids)))
    cursor.putmulti(pairs, append=True)
environment.close()
"""
BY_HAND = """
import duckdb, sys
connection = duckdb.connect(config={"threads": 2, "memory_limit": "2GB", "temp_directory": "spill"})
for name in ("players", "events", "exposures"):
    connection.execute(f"CREATE VIEW {name} AS SELECT * FROM 'data/raw/{name}.parquet'")
definition = open("src/promotion_ranker/features.sql").read()
connection.execute(
    "CREATE VIEW moments AS "
    "SELECT exposure_id AS moment_id, player_id, shown_at AS at FROM exposures"
)
connection.execute(
    f"COPY (WITH f AS ({definition}) SELECT * FROM f JOIN exposures ON exposure_id = moment_id "
    "JOIN 'data/promotions.csv' USING (promotion_id) ORDER BY shown_at, exposure_id) "
    "TO 'offline-by-hand.parquet' (FORMAT parquet, COMPRESSION zstd)"
)
connection.execute(
    "CREATE OR REPLACE VIEW moments AS SELECT player_id AS moment_id, player_id, "
    "TIMESTAMP '2026-07-01' AS at FROM players"
)
connection.execute(
    f"COPY (WITH f AS ({definition}) SELECT * FROM f ORDER BY moment_id) "
    "TO 'online-by-hand.parquet' (FORMAT parquet, COMPRESSION zstd)"
)
"""


def measure(command: list[str | Path], project: Path) -> tuple[float, float, float]:
    """CPU seconds, wall seconds and peak memory in MB of a command."""
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=project, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command} ended with {status}")
    wall = time.perf_counter() - start
    return usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024


def render(folder: Path) -> Path:
    """Render the default project and make its environment."""
    variables = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"}
    cookiecutter = [sys.executable, "-m", "cookiecutter", ROOT, "--no-input", "-o", folder]
    subprocess.run(cookiecutter, check=True, stdout=subprocess.DEVNULL)
    project = folder / "promotion_ranker"
    subprocess.run(["make", "setup"], cwd=project, env=variables, check=True, capture_output=True)
    return project


def enlarge(project: Path, factor: int) -> None:
    """Make the simulated world so many times as large."""
    path = project / "params.yaml"
    original = path.with_suffix(".original")
    if not original.exists():
        shutil.copy(path, original)
    text = original.read_text().replace("players: 18000", f"players: {18_000 * factor}")
    path.write_text(text.replace("exposures_per_day: 1300", f"exposures_per_day: {1300 * factor}"))


def compare(ours: list[str | Path], theirs: list[str | Path], project: Path) -> float:
    """The median of seven ratios of CPU seconds: of three it moved by four hundredths."""
    pairs = [(measure(ours, project)[0], measure(theirs, project)[0]) for _ in range(7)]
    return statistics.median(ours / theirs for ours, theirs in pairs)


def main() -> None:
    """Print a table for each factor."""
    with tempfile.TemporaryDirectory() as folder:
        project = render(Path(folder))
        python = project / ".venv/bin/python"
        for factor in [int(word) for word in sys.argv[1:]] or [1, 10]:
            enlarge(project, factor)
            print(f"\nabout {factor} million events   CPU s   wall s   peak MB")
            cost = {}
            for stage in STAGES:
                cost[stage] = measure([python, "-m", f"promotion_ranker.{stage}"], project)
                print("{:24}{:10.1f}{:9.1f}{:10.0f}".format(stage, *cost[stage]), flush=True)
            print("{:24}{:10.1f}".format("all", sum(figures[0] for figures in cost.values())))
            stage, by_hand = ([python, *rest] for rest in (FEATURES, ("-c", BY_HAND)))
            print(f"features / by hand: {compare(stage, by_hand, project):.2f} of its CPU")
            online, by_hand = ([python, "-c", code] for code in (REBUILD, REBUILD_BY_HAND))
            ratio = compare(online, by_hand, project)
            print(f"events to a swapped store / by hand: {ratio:.2f} of its CPU (at most 2)")


if __name__ == "__main__":
    main()
