"""Changed notebooks for a reviewer: what changed cell by cell, and that they still run."""

import html
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
from nbdime.diffing.notebooks import diff_notebooks, set_notebook_diff_targets
from nbdime.prettyprint import PrettyPrintConfig, pretty_print_notebook_diff

from . import page, providers, revision, rivals
from .git import git
from .package import load

FOLDER = Path("reports/delivery")
WORDS = {"A": "added", "D": "deleted", "M": "changed", "R": "renamed", "T": "changed"}
IMAGES = ("image/png", "image/jpeg")


@dataclass
class Change:
    """A notebook that changed; an empty one stands for what is not there.

    Attributes:
        kind: in a word, what was done to it.
        findings: what is wrong with it, a sentence each.
    """

    path: str
    kind: str
    old: nbformat.NotebookNode
    new: nbformat.NotebookNode
    findings: list[str] = field(default_factory=list)


def review(arguments: list[str]) -> int:
    """Show the changed notebooks cell by cell, and run them."""
    context = providers.context()
    runnable = not context.fork or Path("data/raw").exists()
    changes = find(rivals.find_base(context), runnable)
    text = to_markdown(changes)
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "notebooks.md").write_text(text)
    page.write(FOLDER / "notebooks.html", "Changed notebooks", map(to_html, changes))
    context.summarise(text)
    for change in changes:
        print(f"{change.path}: {'; '.join([change.kind, *change.findings])}")
    return 1 if any(change.findings for change in changes) else 0


def find(base: str | None, runnable: bool) -> list[Change]:
    """The notebooks that changed since a commit; none since the first."""
    if base is None:
        return []
    command = ("diff", "--name-status", "--find-renames", "-z", base, "--", "*.ipynb")
    words = iter(git(*command).split("\0"))
    changes = []
    for kind in filter(None, words):
        old = next(words)
        changes.append(read(kind[0], old, next(words) if kind[0] == "R" else old, base, runnable))
    return changes


def read(kind: str, old: str, new: str, base: str, runnable: bool) -> Change:
    """Both sides of a change; the new one with the outputs of a run."""
    name = new if old == new else f"{old} → {new}"
    change = Change(name, WORDS[kind], *(nbformat.v4.new_notebook() for _ in "12"))
    if kind != "A":
        change.old = _parse(revision.read(old, base)) or change.old
    if kind == "D":
        return change
    parsed = _parse(revision.read(new))
    if parsed is None:
        change.findings.append("it is no notebook: conflict markers, or not JSON")
        return change
    change.new = parsed
    if runnable:
        # a stage runs its notebook from the root, a person where it lies
        staged = new in (revision.read("dvc.yaml") or "")
        try:
            folder = Path() if staged else Path(new).parent
            change.new = load("report").execute(Path(new), folder)
        except load("errors").StageError as fault:
            change.findings.append(f"it does not run: {fault}")
    return change


def _parse(text: str | None) -> nbformat.NotebookNode | None:
    try:
        return nbformat.reads(text or "", as_version=4)
    except Exception:  # nbformat fails in as many ways as a file can be broken
        return None


def to_markdown(changes: list[Change]) -> str:
    """What changed, folded, notebook by notebook."""
    return "\n\n".join(["### Notebooks", *map(_fold, changes)]) if changes else ""


def _fold(change: Change) -> str:
    text = io.StringIO()
    left_out = dict.fromkeys(("outputs", "metadata", "identifier", "details"), False)
    set_notebook_diff_targets(**left_out)
    difference = diff_notebooks(change.old, change.new)
    settings = PrettyPrintConfig(text, SimpleNamespace(**left_out, id=False), use_color=False)
    pretty_print_notebook_diff("old", "new", change.old, difference, settings)
    ticks = max([2, *map(len, re.findall("`+", text.getvalue()))]) + 1
    findings = [f"- **{html.escape(finding)}**" for finding in change.findings]
    summary = f"<code>{html.escape(change.path)}</code> {change.kind}"
    fence = "`" * ticks
    lines = [*findings, "", f"<details><summary>{summary}</summary>", "", f"{fence}diff"]
    return "\n".join([*lines, text.getvalue().rstrip(), fence, "", "</details>"])


def to_html(change: Change) -> str:
    """Old and new side by side; the outputs are those of the run."""
    rows, unchanged = [], 0
    for old, new in _pairs(change):
        if old is not None and new is not None and old.source == new.source:
            unchanged += 1
            continue
        rows.append(_gap(unchanged) + f"<tr>{_side(old, new, 'old')}{_side(new, old, 'new')}</tr>")
        unchanged = 0
    findings = "".join(f"<p><b>{html.escape(finding)}</b></p>" for finding in change.findings)
    title = f"<h3><code>{html.escape(change.path)}</code> {change.kind}</h3>"
    return f'{title}{findings}<table class="sides">{"".join(rows)}{_gap(unchanged)}</table>'


def _pairs(change: Change) -> Iterator[tuple[Any, Any]]:
    """Each old cell with its new one; None where a cell was added or removed."""
    old, new = iter(change.old.cells), iter(change.new.cells)
    difference = diff_notebooks(change.old, change.new)
    place = 0
    for entry in next((e.diff for e in difference if e.key == "cells"), []):
        for _ in range(entry.key - place):
            yield next(old), next(new)
        place = entry.key
        if entry.op == "addrange":
            yield from ((None, next(new)) for _ in entry.valuelist)
        elif entry.op == "removerange":
            yield from ((next(old), None) for _ in range(entry.length))
            place += entry.length
        else:
            yield next(old), next(new)
            place += 1
    yield from zip(old, new, strict=True)


def _gap(unchanged: int) -> str:
    return f'<tr><td colspan="2">{unchanged} cells unchanged</td></tr>' if unchanged else ""


def _side(cell: Any, other: Any, side: str) -> str:
    if cell is None:
        return "<td></td>"
    there = set(other.source.splitlines()) if other is not None else set()
    lines = (
        html.escape(line) if line in there else f'<span class="{side}">{html.escape(line)}</span>'
        for line in cell.source.splitlines()
    )
    outputs = "".join(map(_output, cell.get("outputs", [])))
    return f"<td><pre>{chr(10).join(lines)}</pre>{outputs}</td>"


def _output(output: Any) -> str:
    """Images and plain text; never HTML, which could say anything."""
    data = output.get("data", {})
    for kind in IMAGES:
        if kind in data:
            content = re.sub(r"[^A-Za-z0-9+/=]", "", "".join(data[kind]))
            return f'<img alt="" src="data:{kind};base64,{content}">'
    text = output.get("text") or data.get("text/plain") or "\n".join(output.get("traceback", []))
    plain = re.sub(r"\x1b\[[0-9;]*m", "", "".join(text))
    return f'<pre class="output">{html.escape(plain)}</pre>'
