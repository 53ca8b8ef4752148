"""Parallel coordinates: one line for each run across one axis for each figure, drawn as SVG."""

import html
from dataclasses import dataclass

WIDTH, HEIGHT, TOP, SIDE, GAP = 1120, 420, 46, 90, 14
TICKS = 6  # of an axis; where it has no more values than that, each of them
WORST, BEST, OURS = (201, 206, 214), (26, 115, 232), "#e8730c"

Value = float | str


@dataclass(frozen=True)
class Axis:
    """What is told at one axis.

    Attributes:
        values: of each line, in their order; numbers, or words if any of them is a word.
    """

    name: str
    values: list[Value]

    @property
    def numbers(self) -> list[float]:
        """Its values, if all are numbers, else none."""
        found = [value for value in self.values if not isinstance(value, str)]
        return found if len(found) == len(self.values) else []

    def place(self, value: Value) -> float:
        """Where a value lies, from the low end at 0 to the high one at 1."""
        if self.numbers and not isinstance(value, str):
            low, high = min(self.numbers), max(self.numbers)
            return (value - low) / (high - low) if high > low else 0.5
        words = sorted({str(known) for known in self.values})
        return words.index(str(value)) / (len(words) - 1) if len(words) > 1 else 0.5

    def ticks(self) -> list[Value]:
        """The values that are written beside it."""
        distinct = sorted(set(self.values), key=self.place)
        if len(distinct) <= TICKS or not self.numbers:
            return distinct
        low, high = min(self.numbers), max(self.numbers)
        return [low + (high - low) * number / (TICKS - 1) for number in range(TICKS)]


def draw(names: list[str], axes: list[Axis], colours: list[str]) -> str:
    """One line a name, the first one dashed; the pointer lifts a line out of the others."""
    step = (WIDTH - 2 * SIDE) / max(len(axes) - 1, 1)
    across = [SIDE + number * step for number in range(len(axes))]
    shapes = []
    for row, (name, colour) in reversed(list(enumerate(zip(names, colours, strict=True)))):
        spots = [(x, _height(a, a.values[row])) for a, x in zip(axes, across, strict=True)]
        points = " ".join(f"{x:.0f},{y:.1f}" for x, y in spots)
        told = "; ".join([name, *(f"{axis.name} {shown(axis.values[row])}" for axis in axes)])
        dashes = ' stroke-dasharray="7 4"' if row == 0 else ""
        shapes.append(
            f'<polyline class="run" points="{points}" stroke="{colour}"{dashes}>'
            f"<title>{html.escape(told)}</title></polyline>"
        )
    shapes += [_axis(axis, x) for axis, x in zip(axes, across, strict=True)]
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(shapes)}</svg>'


def shades(worth: list[float | None]) -> list[str]:
    """The colour of each line: from grey to blue as it is worth more; the first one's own."""
    known = [value for value in worth if value is not None]
    low, span = min(known, default=0.0), (max(known, default=0.0) - min(known, default=0.0)) or 1.0
    parts = [0.0 if value is None else (value - low) / span for value in worth]
    mixed = [
        [round(a + part * (b - a)) for a, b in zip(WORST, BEST, strict=True)] for part in parts
    ]
    return [OURS, *("#{:02x}{:02x}{:02x}".format(*colour) for colour in mixed[1:])]


def shown(value: Value) -> str:
    """A value as it is written: three digits, or a word."""
    return value if isinstance(value, str) else f"{value:.3g}"


def _axis(axis: Axis, x: float) -> str:
    line = f'<line class="axis" x1="{x:.0f}" x2="{x:.0f}" y1="{TOP}" y2="{HEIGHT - GAP}"/>'
    section, _, name = axis.name.rpartition(".")
    head = f'<text class="section" x="{x:.0f}" y="14">{html.escape(section)}</text>'
    head += f'<text x="{x:.0f}" y="31">{html.escape(name)}</text>'
    ticks = (
        f'<text class="tick" x="{x - 7:.0f}" y="{_height(axis, value) + 4:.1f}">'
        f"{html.escape(shown(value))}</text>"
        for value in axis.ticks()
    )
    return line + head + "".join(ticks)


def _height(axis: Axis, value: Value) -> float:
    return HEIGHT - GAP - axis.place(value) * (HEIGHT - GAP - TOP)
