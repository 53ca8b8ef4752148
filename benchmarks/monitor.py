"""What the monitor costs on a large log: CPU seconds and peak memory.

`python benchmarks/monitor.py PROJECT [LINES]` takes a default project that is reproduced, and makes
a prediction log of so many lines (10 million) of the three weeks after its data end.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

MAKE = """
import datetime, json, sys
from pathlib import Path
from promotion_ranker import params
from promotion_ranker.tests import log
path, lines = Path(sys.argv[1]), int(sys.argv[2])
start = params.load().collect.until + datetime.timedelta(days=1)
end = start + datetime.timedelta(days=21)
rows = log.answer(log.ask(start, end))
rests = [json.dumps(row, separators=(",", ":"))[len(row["time"]) + 10 :] for row in rows]
days = [row["time"][:10] for row in rows]
with path.open("w") as file:
    for number in range(lines):
        row = number * len(rows) // lines
        second = number % 86400
        clock = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
        moment = f"{days[row]}T{clock}.{number % 1000:03}+00:00"
        file.write(f'{{"time":"{moment}"{rests[row]}\\n')
print(end - datetime.timedelta(days=1))
"""


def main() -> None:
    """Make the log, run the monitor, print what it cost."""
    project, lines = Path(sys.argv[1]).resolve(), int((*sys.argv[2:], 10_000_000)[0])
    python = project / ".venv/bin/python"
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log.jsonl")
        made = [python, "-c", MAKE, log, str(lines)]
        until = subprocess.run(made, cwd=project, stdout=subprocess.PIPE, text=True, check=True)
        variables = os.environ | {"LOGS": str(log), "UNTIL": until.stdout.strip()}
        command = [python, "-m", "promotion_ranker.monitor"]
        process = subprocess.Popen(command, cwd=project, env=variables)
        _, status, usage = os.wait4(process.pid, 0)
        size = log.stat().st_size / 1e9
    if os.waitstatus_to_exitcode(status) > 1:
        raise SystemExit("the monitor could not look")
    seconds, gigabytes = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20
    print(f"{lines:,} lines, {size:.1f} GB: {seconds:.0f} CPU s, {gigabytes:.2f} GiB at most")


if __name__ == "__main__":
    main()
