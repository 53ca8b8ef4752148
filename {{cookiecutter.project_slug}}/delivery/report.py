"""What a change does to the model, for a person with two minutes: report.md and report.html."""

from pathlib import Path

import yaml

from . import facts, gate, notebooks, page, plots, providers, revision, rivals
from .context import Context
from .environments import address
from .facts import Facts
from .gate import Verdict
from .image import DASHBOARD, parts
from .plots import Plot

FOLDER = Path("reports/delivery")
MARKER = "[//]: # (the model's report)"
NEW = "this change"
SIGNS = {"promote": "🟢", "block": "🔴", "needs a person": "🟡"}
INTERVALS = "In brackets the interval. **Bold**: outside the interval that it had."
OWN_DATA = "Each column is measured on its own data, the verdict on the same examples."


def write(arguments: list[str]) -> int:
    """Report what this change does to the model: to files, to the run's summary, as a comment."""
    provider, context = providers.find(), providers.context()
    others, remarks = rivals.find(context)
    verdict = gate.judge(others)
    title, blocks = _title(verdict), compose(context, others, remarks)
    draw = plots.to_mermaid if provider.MERMAID else plots.to_table
    texts = [draw(block) if isinstance(block, Plot) else block for block in blocks]
    head = f"## {SIGNS[verdict.decision]} {title}"
    review = notebooks.to_markdown(notebooks.find(rivals.find_base(context), runnable=False))
    text = "\n\n".join(filter(None, [MARKER, head, *texts, review])) + "\n"
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "report.md").write_text(text)
    kind = verdict.decision.split()[0]
    banner = f'<header class="{kind}">{page.from_markdown(f"## {title}")}</header>'
    page.write(FOLDER / "report.html", "The model's report", [banner, *map(_to_html, blocks)])
    context.summarise(text)
    providers.tell(context, text)
    print(f"{FOLDER / 'report.html'}: {verdict}")
    return 1 if verdict.broken_floors else 0


def compose(context: Context, others: dict[str, str], remarks: list[str]) -> list[str | Plot]:
    """The report as blocks of Markdown and plots."""
    revisions: dict[str, str | None] = {**others, NEW: None}
    sides = [Facts.read(name, commit) for name, commit in revisions.items()]
    remarks += [f"{s.name.capitalize()} has no metrics." for s in sides if not s.metrics]
    remarks += [OWN_DATA] if any(side.data != sides[-1].data for side in sides) else []
    blocks: list[str | Plot] = [
        _link(context),
        "### Metrics",
        facts.metrics_table(sides),
        " ".join([INTERVALS, *remarks]),
    ]
    if sides[-1].slices:
        blocks += [f"### Slices, by `{sides[-1].sliced}`", facts.slices_table(sides)]
    if others:
        old, new = sides[0], sides[-1]
        blocks += ["### Parameters", facts.parameters_table(old, new) or "None changed."]
        blocks += ["### Data", facts.data_table(old, new) or "The same rows, columns and times."]
    return [*filter(None, blocks), "### Plots", *plots.read(revisions)]


def _title(verdict: Verdict) -> str:
    """The verdict as a heading, and the reason below it."""
    decision, reason = (text[:1].upper() + text[1:] for text in (verdict.decision, verdict.reason))
    return "\n\n".join(
        [decision, *(f"**{floor}.**" for floor in verdict.broken_floors), f"{reason}."]
    )


def _link(context: Context) -> str:
    """Where there is more: the run with its artifacts, and the change at work."""
    links = []
    if context.run_url:
        run = f"[this run]({context.run_url})"
        links.append(f"`report.html` and `notebooks.html` are among the artifacts of {run}.")
    environments = yaml.safe_load(revision.read("deploy/environments.yaml") or "") or {}
    app = environments.get("review", {}).get("url", "")
    if context.pull_request and app and not app.endswith(".localhost"):  # as rendered
        app = app.format(number=context.pull_request)
        page = f", and [its dashboard]({address(app, DASHBOARD)})" if DASHBOARD in parts() else ""
        links.append(f"[The review app]({app}){page}.")
    return " ".join(links)


def _to_html(block: str | Plot) -> str:
    if isinstance(block, Plot):
        return f"<figure>{plots.to_svg(block)}</figure>"
    return page.from_markdown(block)
