"""Stage report: execute notebooks/report.ipynb and write one HTML file that needs no network."""

import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter

from . import stage
from .stage import StageError, progress, replacing

NOTEBOOK = Path("notebooks/report.ipynb")
REPORT = Path("reports/report.html")


def main() -> None:
    """Write reports/report.html."""
    notebook = execute(NOTEBOOK)
    with replacing(REPORT) as new:
        new.write_text(to_html(notebook, "Report"))


def execute(path: Path, folder: Path = Path()) -> nbformat.NotebookNode:
    """Run a notebook in a folder; raises StageError that names the cell that failed."""
    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception as error:  # nbformat fails in as many ways as a file can be broken
        raise StageError(f"{path} cannot be read: {error}") from None
    os.environ.setdefault(
        "PYDEVD_DISABLE_FILE_VALIDATION", "1"
    )  # the kernel warns of it at each start
    quiet = ["--log-level=ERROR"]
    where = {"metadata": {"path": str(folder)}}
    client = NotebookClient(
        notebook, resources=where, record_timing=False, timeout=600, extra_arguments=quiet
    )
    with client.setup_kernel():
        for number, cell in enumerate(progress(notebook.cells, desc="report", unit="cell")):
            try:
                client.execute_cell(cell, number)
            except CellExecutionError as error:
                reason = f"{error.ename}: {error.evalue}"
                raise StageError(f"{path}, cell {number + 1}: {reason}") from None
    return notebook


def to_html(notebook: nbformat.NotebookNode, title: str) -> str:
    """One self-contained page without the code."""
    exporter = HTMLExporter(
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        embed_images=True,
        mathjax_url="",
        require_js_url="",
    )
    html, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": title}})
    return html


if __name__ == "__main__":
    stage.run(main)
