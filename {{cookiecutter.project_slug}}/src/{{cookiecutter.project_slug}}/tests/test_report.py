"""Stage report: one page that needs nothing but itself."""

import re

import nbformat
import pytest

from .. import report
from ..stage import StageError


def test_the_page_is_whole_and_needs_no_network(copy):
    report.main()
    page = report.REPORT.read_text()
    assert "What is a ranking worth?" in page
    assert page.count("data:image/png;base64") >= 5
    assert not re.findall(r'(?:src|href)\s*=\s*["\']?(?:https?:)?//', page)
    assert "import json" not in page  # a manager reads it: no code


def test_the_same_inputs_give_the_same_bytes(copy):
    report.main()
    first = report.REPORT.read_bytes()
    report.main()
    assert report.REPORT.read_bytes() == first


def test_a_cell_that_fails_is_named(copy):
    notebook = nbformat.read(report.NOTEBOOK, as_version=4)
    notebook.cells[0].source += "\n1 / 0"
    nbformat.write(notebook, report.NOTEBOOK)
    with pytest.raises(StageError, match=r"report.ipynb, cell 1: ZeroDivisionError"):
        report.main()
    assert not report.REPORT.exists()


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_broken_notebook_is_named(copy, content):
    report.NOTEBOOK.write_text(content)
    with pytest.raises(StageError, match=r"report.ipynb cannot be read"):
        report.main()
