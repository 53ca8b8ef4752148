"""The questions and the tables in cookiecutter.json fit together."""

import json
import re

import pytest
from conftest import ROOT

QUESTIONS = json.loads((ROOT / "cookiecutter.json").read_text("utf-8"))
PUBLIC = {name: default for name, default in QUESTIONS.items() if not name.startswith("_")}
CHOICES = {name: choices for name, choices in PUBLIC.items() if isinstance(choices, list)}
PROMPTS = QUESTIONS["__prompts__"]
ONLY_FOR = QUESTIONS["_only_for"]
TEMPLATE = ROOT / "{{cookiecutter.project_slug}}"


def test_every_question_has_a_prompt():
    assert set(PROMPTS) == set(PUBLIC)


@pytest.mark.parametrize("question", CHOICES)
def test_every_choice_has_a_label(question):
    assert set(PROMPTS[question]) == {"__prompt__", *CHOICES[question]}


@pytest.mark.parametrize("question", PUBLIC)
def test_every_question_is_put_by_text_or_choice(question):
    assert isinstance(PUBLIC[question], str | list), "anything else cannot be answered in a command"


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_question_asks_for_a_secret(question):
    assert not re.search("password|passwd|secret|token|credential|api_?key", question, re.I)


@pytest.mark.parametrize("question", ONLY_FOR)
def test_pruning_table_names_answers_and_files_that_exist(question):
    assert set(ONLY_FOR[question]) <= set(CHOICES[question])
    for names in ONLY_FOR[question].values():
        assert [name for name in names if not (TEMPLATE / name).exists()] == []


@pytest.mark.parametrize("question", ONLY_FOR)
def test_pruning_table_lists_no_file_inside_a_listed_folder(question):
    names = {name for names in ONLY_FOR[question].values() for name in names}
    assert [a for a in names for b in names if a.startswith(f"{b}/")] == []


@pytest.mark.parametrize("pattern", QUESTIONS["_copy_without_render"])
def test_files_copied_verbatim_are_no_folders(pattern):
    assert not (TEMPLATE / pattern).is_dir(), "a folder's own files would be deleted by -f"


def test_tables_are_sorted():
    def unsorted(value) -> list:
        if not isinstance(value, dict):
            return []
        here = [] if list(value) == sorted(value) else [list(value)]
        return here + [keys for inner in value.values() for keys in unsorted(inner)]

    tables = {name: value for name, value in QUESTIONS.items() if name != "__prompts__"}
    # Jinja sorts the keys that it hands to the hook; cruft writes them as they are here.
    assert [keys for table in tables.values() for keys in unsorted(table)] == []


def test_storages_have_the_same_facts():
    facts = {tuple(row) for row in QUESTIONS["_storages"].values()}
    assert len(facts) == 1
    assert set(QUESTIONS["_storages"]) == set(CHOICES["storage"])


def pick(question):
    return CHOICES[question][1:]


@pytest.mark.parametrize(("question", "answer"), [(q, a) for q in CHOICES for a in pick(q)])
def test_every_answer_changes_the_render(bake, question, answer):
    def read(project):
        files = [path for path in project.rglob("*") if path.is_file()]
        names = {path.relative_to(project).as_posix(): path for path in files}
        ours = {name for name in names if not name.startswith(".git/") and name != ".cruft.json"}
        return {name: names[name].read_bytes() for name in ours}

    assert read(bake(**{question: answer})) != read(bake())
