"""The report of the monitor as one HTML page that needs no network."""

import html
from pathlib import Path
from string import Template
from typing import Any

TEMPLATE = Path(__file__).with_name("page.html")
WORDS = {"ok": "ok", "alarm": "alarm", "unknown": "not enough data"}
WIDTH, HEIGHT = 260, 44


def write(watch: dict[str, Any]) -> str:
    """Fill the template with the content of reports/monitor.json."""
    live: dict[str, Any] = watch["live"] or {"examples": 0, "matured": None, "comparisons": []}
    matured = "an unknown share" if live["matured"] is None else f"{live['matured']:.0%}"
    parts = {
        "state": watch["state"],
        "verdict": html.escape(watch["verdict"]),
        "checks": "".join(map(_check, watch["checks"])),
        "matured": f"{matured} of the rankings are old enough to have an outcome; "
        f"{live['examples']:,} outcomes belong to one.",
        "live": "".join(map(_comparison, live["comparisons"])),
        "drift": "".join(map(_finding, watch["findings"])),
        "days": _days(watch["days"]),
        **{name: html.escape(watch[name]) for name in ("start", "end", "model")},
    }
    return Template(TEMPLATE.read_text()).substitute(parts)


def _row(name: str, state: str, *cells: str) -> str:
    shown = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr><th>{html.escape(name)}</th><td class="{state}">{WORDS[state]}</td>{shown}</tr>\n'


def _check(check: dict[str, Any]) -> str:
    return _row(check["name"], check["state"], html.escape(check["sentence"]))


def _finding(finding: dict[str, Any]) -> str:
    figures = ""
    if finding["psi"] is not None:
        figures = f"{finding['psi']:.3f}, limit {finding['threshold']:.3f}"
    bars = _bars([finding["expected"], finding["observed"]])
    return _row(finding["name"], finding["state"], figures, bars)


def _comparison(comparison: dict[str, Any]) -> str:
    rows = [("release", comparison["release"], "then"), ("live", comparison["live"], "now")]
    words = "<br>".join(
        f"{name} {_figure(x['value'])} ({_figure(x['low'])} to {_figure(x['high'])})"
        for name, x, _ in rows
    )
    meaning = f'<tr class="meaning"><td colspan="4">{html.escape(comparison["meaning"])}</td></tr>'
    return _row(comparison["name"], comparison["state"], words, _whiskers(rows)) + meaning


def _figure(number: float | None) -> str:
    return "?" if number is None else f"{number:.3g}"


def _whiskers(rows: list[tuple[str, dict[str, float | None], str]]) -> str:
    known = [x for _, interval, _ in rows for x in interval.values() if x is not None]
    low, span = min(known), max(max(known) - min(known), 1e-12)

    def place(number: float | None) -> float:
        return 6 + (WIDTH - 12) * ((low if number is None else number) - low) / span

    shapes = ""
    for number, (_, interval, kind) in enumerate(rows):
        y = HEIGHT * (number + 0.5) / len(rows)
        left, middle, right = (place(interval[end]) for end in ("low", "value", "high"))
        shapes += f'<line class="{kind}" x1="{left:.1f}" x2="{right:.1f}" y1="{y}" y2="{y}"/>'
        shapes += f'<circle class="{kind}" cx="{middle:.1f}" cy="{y}" r="4"/>'
    return _svg(shapes)


def _bars(series: list[list[float]]) -> str:
    """Bars side by side, one pair for each bin that is ever seen."""
    pairs = [pair for pair in zip(*series, strict=True) if any(pair)]
    highest = max((max(pair) for pair in pairs), default=1)
    step, shapes = WIDTH / max(len(pairs), 1), ""
    kinds = ("then", "now") if len(series) > 1 else ("now",)
    for number, pair in enumerate(pairs):
        for place, (share, kind) in enumerate(zip(pair, kinds, strict=True)):
            height = (HEIGHT - 2) * share / highest
            x, width = step * (number + 0.45 * place), step * 0.45
            shapes += (
                f'<rect class="{kind}" x="{x:.1f}" y="{HEIGHT - height:.1f}" '
                f'width="{width:.1f}" height="{height:.1f}"><title>{share:,.3g}</title></rect>'
            )
    return _svg(shapes)


def _days(days: dict[str, int]) -> str:
    if not days:
        return "<p>none</p>"
    first, last = min(days), max(days)
    return _bars([list(map(float, days.values()))]) + f"<p>{first} to {last}</p>"


def _svg(shapes: str) -> str:
    return f'<svg width="{WIDTH}" height="{HEIGHT}" role="img">{shapes}</svg>'
