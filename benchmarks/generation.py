"""What a generation costs beside its floors: `python benchmarks/generation.py`.

CPU seconds of the whole process tree, because they do not depend on what else the machine does.
The hooks keep to 1.5 times a render without them and to 2.5 times the import of cookiecutter.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUNS = 7
MEMORY = Path("/dev/shm")  # noqa: S108  # each run has a folder of its own in it
RENDER = (sys.executable, "-m", "cookiecutter", str(ROOT), "--no-input")
PEER = "cookiecutter-data-science"


def measure(command: tuple[str, ...], root: str) -> float:
    """Return the CPU seconds that a command takes in a new folder, with all that it starts."""
    folder = tempfile.mkdtemp(dir=root)
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    variables |= {"HOME": folder, "CD4ML_LOCK": "0"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, env=variables, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def find_peer() -> tuple[str, ...] | None:
    """Return the command of another template for the same job, if it works here without network."""
    stored = Path.home() / ".cookiecutters" / PEER
    if shutil.which("ccds") is None or not stored.is_dir():
        return None
    return ("ccds", "--no-input", str(stored))


def compare(commands: dict[str, tuple[str, ...]]) -> dict[str, float]:
    """Return the least of each command, taken in turns so that the machine treats them alike.

    The least, because all that disturbs a run adds to it: other load and cold caches. In memory,
    where there is such a folder and TMPDIR names no other: each run removes hundreds of files, and
    ext4 then searches minutes long for inodes to give (up to a third of what a render costs).
    """
    asked = os.environ.get("TMPDIR")
    with tempfile.TemporaryDirectory(dir=asked or (MEMORY if MEMORY.is_dir() else None)) as root:
        rounds = [
            {name: measure(command, root) for name, command in commands.items()}
            for _ in range(RUNS)
        ]
    return {name: min(seconds[name] for seconds in rounds) for name in commands}


def main() -> None:
    """Print a line a command, with the ratio of the whole generation to it."""
    commands = {
        "import cookiecutter.main": (sys.executable, "-c", "import cookiecutter.main"),
        "render, hooks refused": (*RENDER, "--accept-hooks", "no"),
        "render and hooks": RENDER,
    }
    if peer := find_peer():
        commands["ccds"] = peer
    seconds = compare(commands)
    print(f"{f'CPU seconds, least of {RUNS}':28}{'seconds':>9}{'whole / this':>14}")
    for name, cost in seconds.items():
        print(f"{name:28}{cost:9.3f}{seconds['render and hooks'] / cost:14.2f}")
    if not peer:
        print(f"{'ccds':28}  not installed")


if __name__ == "__main__":
    main()
