"""The plots of dvc.yaml: this change drawn over the commits that it is compared with."""

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import yaml

from . import revision

OLD, NEW = ("#9aa0a6", "#e8a33d"), "#1a73e8"  # of those compared with, of this change
COLOURS = {OLD[0]: "grey", OLD[1]: "orange", NEW: "blue"}
POINTS = 8  # of a series in a comment


@dataclass(frozen=True)
class Plot:
    """Series over one another: name → values by x; this change is the last.

    Attributes:
        is_bar: x are names, else numbers.
    """

    title: str
    x_label: str
    y_label: str
    is_bar: bool
    series: dict[str, pd.Series]

    @property
    def colours(self) -> dict[str, str]:
        """The colour of each series."""
        return dict(zip(self.series, (*OLD[: len(self.series) - 1], NEW), strict=True))


def read(revisions: dict[str, str | None]) -> Iterator[Plot]:
    """Each curve or bar chart of dvc.yaml, with a series for each revision that has its data."""
    listed = yaml.safe_load(revision.read("dvc.yaml") or "").get("plots", [])
    for title, plot in (item for entry in listed for item in entry.items()):
        if not isinstance(plot, dict) or not isinstance(plot.get("y"), dict):
            continue  # `dvc plots show` draws it
        path, y = next(iter(plot["y"].items()))
        is_bar = plot.get("template", "").startswith("bar_horizontal")
        columns = (y, plot["x"]) if is_bar else (plot["x"], y)
        found = {name: _series(path, *columns, commit) for name, commit in revisions.items()}
        series = {name: values for name, values in found.items() if values is not None}
        if list(series)[-1:] == list(revisions)[-1:]:
            labels = (plot.get("x_label", plot["x"]), plot.get("y_label", y))
            yield Plot(title, *labels, is_bar, series)


def _series(path: str, x: str, y: str, commit: str | None) -> pd.Series | None:
    try:
        frame = pd.read_csv(io.StringIO(revision.read(path, commit) or ""))
        return frame.groupby(x)[y].mean()  # in the order of x
    except (ValueError, KeyError, TypeError):  # no data, or of another shape, at that time
        return None


def align(plot: Plot) -> pd.DataFrame:
    """All series at the same few x: the longest bars, or an even grid that all curves reach."""
    *_, last = plot.series.values()
    if plot.is_bar:
        longest = last.nlargest(POINTS).index
        return pd.DataFrame({n: s.reindex(longest, fill_value=0) for n, s in plot.series.items()})
    reached = {name: np.asarray(values.index, float) for name, values in plot.series.items()}
    low, high = max(x[0] for x in reached.values()), min(x[-1] for x in reached.values())
    grid = np.linspace(low, high, POINTS)
    curves = {n: np.interp(grid, reached[n], s.to_numpy()) for n, s in plot.series.items()}
    return pd.DataFrame(curves, index=grid)


def to_mermaid(plot: Plot) -> str:
    """As a chart in Markdown; as it has no legend, a line above it names the colours."""
    frame = align(plot)
    names = ", ".join(f"{COLOURS[colour]}: {name}" for name, colour in plot.colours.items())
    ordered = [*frame.columns[::-1]] if plot.is_bar else [*frame.columns]
    palette = ",".join(plot.colours[name] for name in ordered)
    names_of_bars = ", ".join(f'"{name}"' for name in frame.index)
    if plot.is_bar:
        axes = (f"[{names_of_bars}]", f'"{plot.x_label}" 0 --> {frame.max(axis=None):.4g}')
    else:
        ends = f"{frame.index[0]:.4g} --> {frame.index[-1]:.4g}"
        axes = (f'"{plot.x_label}" {ends}', f'"{plot.y_label}"')
    kinds = ["bar" if plot.is_bar and name == frame.columns[-1] else "line" for name in ordered]
    lines = [
        f"**{plot.title}** ({names})\n",
        "```mermaid",
        '%%{init: {"themeVariables": {"xyChart": {"plotColorPalette": "' + palette + '"}}}}%%',
        "xychart-beta horizontal" if plot.is_bar else "xychart-beta",
        f"    x-axis {axes[0]}",
        f"    y-axis {axes[1]}",
    ]
    for kind, name in zip(kinds, ordered, strict=True):
        lines.append(f"    {kind} [{', '.join(f'{value:.4g}' for value in frame[name])}]")
    return "\n".join([*lines, "```"])


def to_table(plot: Plot) -> str:
    """As figures, where comments draw nothing."""
    frame = align(plot)
    head = f"| {plot.y_label if plot.is_bar else plot.x_label} | {' | '.join(frame.columns)} |"
    lines = [f"**{plot.title}**\n", head, "|" + "---|" * (len(frame.columns) + 1)]
    for x, row in frame.iterrows():
        name = x if isinstance(x, str) else f"{x:.4g}"
        lines.append(f"| {name} | {' | '.join(f'{value:.4g}' for value in row)} |")
    return "\n".join(lines)


def to_svg(plot: Plot) -> str:
    """As a drawing for a page."""
    from matplotlib.figure import Figure  # only here: it takes as long as all the rest

    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    axes = figure.subplots()
    if plot.is_bar:
        frame = align(plot)[::-1]
        frame.plot.barh(ax=axes, color=list(plot.colours.values()), width=0.8, legend=False)
    else:
        for name, values in plot.series.items():
            axes.plot(values.index, values, "o-", color=plot.colours[name], markersize=4)
    axes.set(title=plot.title, xlabel=plot.x_label, ylabel=plot.y_label)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(list(plot.series), loc="outside lower center", ncols=3, frameon=False)
    text = io.StringIO()
    none = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(text, format="svg", metadata=none)
    return text.getvalue().partition("<svg")[1] + text.getvalue().partition("<svg")[2]
