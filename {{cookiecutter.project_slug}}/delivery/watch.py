"""Watch what is deployed and tell people by one issue: an alarm opens it, a good verdict closes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from . import DeliveryError, plots, providers
from .forge import cut
from .identity import log_in_to_storage
from .package import load
from .plots import Plot

REPORT = Path("reports/monitor.json")
MARKER = "[//]: # (the monitor)"
TITLE = "The deployed model needs a look"
SHOWN = 3  # drifted features that are drawn
CHOICES = """### What to do

- **Retrain**: `make retrain` learns from the newest data and opens a pull request.
- **Roll back**: `make rollback TO=production` returns to the version that served before.
- **Look closer**: `make monitor`, then open `reports/monitor.html`; or `notebooks/explore.ipynb`.
"""


def tell(arguments: list[str]) -> int:
    """Run the monitor; on a provider open, update or close the project's issue by its verdict."""
    package = load("monitor").__name__
    REPORT.unlink(missing_ok=True)
    log_in_to_storage()  # the log may lie there
    code = subprocess.run([sys.executable, "-m", package]).returncode
    if not REPORT.exists():
        raise DeliveryError("the monitor could not look, so nothing is told of the service", 2)
    watch, context = json.loads(REPORT.read_text()), providers.context()
    text = write(watch, context.run_url)
    if context.summary:
        with context.summary.open("a") as summary:
            summary.write(text)
    # too few data are neither an alarm nor a reason to close one
    if watch["state"] != "unknown" and context.event != "local":
        provider, is_open = providers.find(), watch["state"] == "alarm"
        print(provider.issue(context, TITLE, cut(text, provider.LIMIT), is_open))
    return code


def write(watch: dict[str, Any], run_url: str) -> str:
    """The issue's text: verdict, checks, plots and choices."""
    draw = plots.to_mermaid if providers.find().MERMAID else plots.to_table
    rows = [f"| {c['name']} | {c['state']} | {_cell(c['sentence'])} |" for c in watch["checks"]]
    return "\n\n".join(
        [
            MARKER,
            f"## {watch['verdict'].splitlines()[0]}",
            f"{watch['start']} to {watch['end']} (UTC), model `{watch['model'][:12]}`"
            + (f" · [this run]({run_url})" if run_url else ""),
            "\n".join(["| check | state | what was found |", "|---|---|---|", *rows]),
            *map(draw, find_plots(watch)),
            CHOICES,
        ]
    )


def _cell(sentence: str) -> str:
    return sentence.replace("|", "\\|").replace("\n", " ")


def find_plots(watch: dict[str, Any]) -> list[Plot]:
    """Drift of each feature beside its limit, and the features that drifted most, bin by bin."""
    known = [finding for finding in watch["findings"] if finding["psi"] is not None]
    if not known:
        return []
    names = [finding["name"] for finding in known]
    limits = pd.Series([finding["threshold"] for finding in known], names)
    found = pd.Series([finding["psi"] for finding in known], names)
    drawn = [Plot("Drift", "feature", "PSI", True, {"limit": limits, "now": found})]
    drifted = [finding for finding in known if finding["state"] == "alarm"]
    for finding in sorted(drifted, key=lambda finding: -finding["psi"])[:SHOWN]:
        series = {"release": _shares(finding["expected"]), "now": _shares(finding["observed"])}
        drawn.append(Plot(finding["name"], "bin", "share", True, series))
    return drawn


def _shares(shares: list[float]) -> pd.Series:
    bins = [f"bin {number + 1}" for number in range(len(shares) - 2)]
    return pd.Series(shares, [*bins, "above", "missing"])
