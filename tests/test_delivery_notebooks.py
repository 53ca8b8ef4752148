"""The review of notebooks: what a change does to them, and which are broken."""

# ruff: noqa: F401, F811 - a fixture that is imported is not called

import nbformat
import pytest
from changes import changed, project, verb

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("project")]


def write_notebook(path, *sources):
    new_cell = nbformat.v4.new_code_cell
    cells = [new_cell(source, id=f"cell-{number}") for number, source in enumerate(sources)]
    path.parent.mkdir(exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


def test_notebooks_are_shown_as_added_changed_renamed_and_deleted(project, verb, git):
    folder = project / "notebooks"
    git(project, "checkout", "--quiet", "main")
    long = [f"x{number} = {number}" for number in range(20)]
    for name in ("moved", "dropped", "edited"):
        write_notebook(folder / f"{name}.ipynb", f"# {name}", *long)
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "Notebooks")
    git(project, "checkout", "--quiet", "-B", "feature")
    git(project, "mv", "notebooks/moved.ipynb", "notebooks/to here.ipynb")
    git(project, "rm", "--quiet", "notebooks/dropped.ipynb")
    write_notebook(folder / "edited.ipynb", "# edited", *long[:10], "print('ten')", *long[11:])
    write_notebook(folder / "new.ipynb", "print(6 * 7)")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "Change them")
    done = verb("notebooks", project)
    assert done.returncode == 0, done.stderr
    said = dict(line.rsplit(": ", 1) for line in done.stdout.splitlines())
    assert said == {
        "notebooks/dropped.ipynb": "deleted",
        "notebooks/edited.ipynb": "changed",
        "notebooks/moved.ipynb → notebooks/to here.ipynb": "renamed",
        "notebooks/new.ipynb": "added",
    }
    text = (project / "reports/delivery/notebooks.md").read_text()
    assert "\n-  x10 = 10\n+  print('ten')\n" in text
    assert "execution_count" not in text
    assert text.count("<details>") == text.count("</details>") == 4
    page = (project / "reports/delivery/notebooks.html").read_text()
    assert "11 cells unchanged" in page
    assert '<pre class="output">42</pre>' in page.replace("\n", "")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("<<<<<<< HEAD\n{}\n=======", "it is no notebook: conflict markers, or not JSON"),
        (["x = 1", "1 / 0"], "cell 2: ZeroDivisionError: division by zero"),
    ],
)
def test_a_broken_notebook_is_a_finding(project, verb, git, content, sentence):
    path = project / "notebooks/odd.ipynb"
    if isinstance(content, str):
        path.write_text(content)
    else:
        write_notebook(path, *content)
    git(project, "-c", "filter.nbstripout.clean=cat", "add", path)
    done = verb("notebooks", project)
    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    assert line.startswith("notebooks/odd.ipynb: added; ")
    assert sentence in line
    assert sentence in (project / "reports/delivery/notebooks.md").read_text()


def test_without_changed_notebooks_there_is_nothing_to_show(project, verb):
    done = verb("notebooks", project)
    assert (done.returncode, done.stdout) == (0, "")
    assert (project / "reports/delivery/notebooks.md").read_text() == ""
