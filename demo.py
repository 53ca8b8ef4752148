"""Ask the service of a rendered project for a ranking, as `make demo` does at its end.

`python demo.py PROJECT [PLAYER]`; the project is set up and reproduced.
"""

import csv
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

WAIT_SECONDS = 60


def main() -> None:
    """Start the service, print one ranking, stop the service."""
    project, player = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 42
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [project.absolute() / ".venv/bin/python", "-m", f"{project.name}.serve"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    variables = os.environ | {"PORT": str(port)}
    with subprocess.Popen(command, cwd=project, env=variables, **quiet) as service:
        try:
            answer = ask(port, player)
        except OSError as error:
            service.terminate()
            sys.exit(f"ERROR: the service does not answer ({error}): {service.communicate()[1]}")
        finally:
            service.terminate()
    print(table(answer, labels(project), player))


def ask(port: int, player: int) -> dict:
    """The ranking for a player, once the service is ready."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/rank",
        json.dumps({"player_id": player}).encode(),
        {"content-type": "application/json"},
    )
    end = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.URLError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def labels(project: Path) -> dict[int, str]:
    """What each promotion is, for people."""
    with (project / "data/promotions.csv").open() as file:
        return {int(number): " · ".join(words) for number, *words in list(csv.reader(file))[1:]}


def table(answer: dict, names: dict[int, str], player: int) -> str:
    """The ranking as lines of text, beside what the baseline expects."""
    lines = [
        f"What the service would show to player {player}:",
        f"{'expected':>42}{'baseline':>10}",
    ]
    for row in answer["ranking"]:
        name = names[row["promotion_id"]]
        lines.append(f"  {name:30}{row['expected_revenue']:10.2f}{row['baseline']:10.2f}")
    age = answer["feature_age_seconds"] / 86_400
    return "\n".join([*lines, f"The newest event behind it is {age:.0f} days old."])


if __name__ == "__main__":
    main()
