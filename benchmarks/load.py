"""A server under load: what it takes of the processor and of memory; the load comes from wrk."""

import os
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PORT = 8791
TICK = os.sysconf("SC_CLK_TCK")
ASK = Path("ask.lua")  # what wrk sends


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


def send(pid: int, seconds: int, connections: int = 16) -> tuple[float, float, float, int]:
    """CPU microseconds a request, p50 and p99 in milliseconds, and requests that failed."""
    before = cpu(pid)
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", ASK]
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
