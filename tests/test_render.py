"""What is rendered is whole: files parse, nothing of the template is left, commands exist."""

import ast
import json
import re
import tomllib

import pytest
import yaml
from conftest import ROOT, TOOLS
from test_questions import CHOICES

TEMPLATE = ROOT / "{{cookiecutter.project_slug}}"
TREE = ROOT / "tests" / "tree.txt"
VARIATIONS = [{}, *({question: answer} for question in CHOICES for answer in CHOICES[question][1:])]
HOSTILE = {
    "project_name": 'Été "Ranker" \\ {{ 7*7 }} 🎯',
    "project_slug": "ete_ranker",
    "description": 'Says """hi""", it\'s \\n\nand on \\',
    "author_name": 'Zoë O\'Neil "Z" \\',
    "license": "MIT",
}


def files(project):
    """Paths of the files that a render brings, relative to the project."""
    paths = (path.relative_to(project) for path in project.rglob("*") if path.is_file())
    return sorted(path for path in paths if path.parts[0] != ".git")


@pytest.fixture(
    params=[*VARIATIONS, HOSTILE], ids=lambda v: ",".join(v.values())[-20:] or "default"
)
def variation(request, bake):
    """The project of one set of answers."""
    return bake(**request.param)


def test_the_tree_is_the_expected_one(bake):
    found = "".join(f"{path.as_posix()}\n" for path in files(bake()))
    assert found == TREE.read_text(), f"update {TREE.name} if this is what you want:\n{found}"


def test_nothing_of_the_template_is_left(variation):
    for path in files(variation):
        if path.name not in {".cruft.json", "uv.lock"}:
            text = (variation / path).read_text("utf-8")
            assert not re.search(r"cookiecutter\.(?!json)|\{%|(?<![$])\{\{", text), path


def test_every_file_parses(variation):
    for path in files(variation):
        text = (variation / path).read_text("utf-8")
        if path.suffix == ".py":
            ast.parse(text)
        elif path.suffix in {".json", ".ipynb"}:
            json.loads(text)
        elif path.suffix in {".yaml", ".yml"}:
            list(yaml.safe_load_all(text))
        elif path.suffix == ".toml":
            tomllib.loads(text)


def test_every_text_file_ends_with_one_newline(variation):
    for path in files(variation):
        text = (variation / path).read_text("utf-8")
        assert not text or re.search(r"[^\n]\n\Z", text), path


def test_answers_arrive_as_they_were_given(bake):
    project = tomllib.loads((bake(**HOSTILE) / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["description"] == " ".join(HOSTILE["description"].split())
    assert project["authors"][0]["name"] == HOSTILE["author_name"]
    assert HOSTILE["author_name"] in (bake(**HOSTILE) / "LICENSE-MIT").read_text("utf-8")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("LicenseRef-Proprietary", "All rights reserved"),
        ("MIT", "Permission is hereby granted, free of charge"),
        ("Apache-2.0", "Version 2.0, January 2004"),
        ("BSD-3-Clause", "Neither the name of the copyright holder"),
    ],
)
def test_the_license_is_the_one_that_was_chosen(bake, answer, words):
    project = bake(license=answer)
    (path,) = project.glob("LICENSE*")
    assert words in path.read_text()
    assert tomllib.loads((project / "pyproject.toml").read_text())["project"]["license"] == answer


def test_no_python_file_of_the_template_holds_jinja():
    for path in TEMPLATE.rglob("*.py"):
        assert not re.search(r"\{\{|\{%|\{#", path.read_text()), path


def test_notebooks_are_committed_without_outputs_in_the_form_of_nbstripout(project, run):
    for path in (project / "notebooks").glob("*.ipynb"):
        before = path.read_bytes()
        run(TOOLS / "nbstripout", "--keep-id", path, cwd=project)
        assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["README.md", "AGENTS.md"])
def test_commands_and_files_of_the_documents_exist(bake, name):
    project = bake()
    text = (project / name).read_text()
    targets = set(re.findall(r"^([a-z-]+):", (project / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= targets
    folders = [project, *(path for path in project.rglob("*") if path.is_dir())]
    for word in re.findall(r"[\w/-]+\.(?:py|sql|yaml|ipynb|csv)\b", text):
        assert any((folder / word).exists() for folder in folders), word


def test_make_lists_every_command(bake, run):
    listed = run("make", cwd=bake()).stdout
    targets = re.findall(r"^([a-z-]+):.*##", (bake() / "Makefile").read_text(), re.MULTILINE)
    assert targets
    assert all(re.search(rf"^{target} +\w", listed, re.MULTILINE) for target in targets)
