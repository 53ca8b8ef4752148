"""Releases of the template, made of the tree as it is, and projects that follow them."""

import functools
import json
import sys

import pytest
from conftest import copy
from projects import SLUG, commit, edit, read, state, write, write_notebook

FOLDER = "{{cookiecutter.project_slug}}"
VERB = (sys.executable, "-B", "-m", "delivery", "template-update")
LOGIN = "Everybody may read that folder."
GUIDE = "".join(f"Step {n}: look at figure {n} and go on.\n" for n in range(1, 21))


def ask_more(stage, question, default, prompt):
    """Add a question to the template."""
    path = stage / "cookiecutter.json"
    table = json.loads(path.read_text("utf-8")) | {question: default}
    table["__prompts__"][question] = prompt
    path.write_text(json.dumps(table, indent=2, ensure_ascii=False) + "\n", "utf-8")


def first(stage, project):
    """v1.0.0: the template as it is, and files on which everything can happen."""
    write(
        project,
        {
            "docs/guide.md": GUIDE,
            "docs/setup.md": GUIDE.replace("Step", "Install"),
            "docs/gone.md": "old\n",
            "docs/old.md": "older\n",
            "docs/plan.md": "one\ntwo\nthree\n",
            "docs/logo.png": b"\x89PNG\0one",
            "docs/icon.png": b"\x89PNG\0uno",
            "docs/tool.sh": "#!/bin/sh\necho hello\n",
            "docs/people.md": "by {{ cookiecutter.author_name }}\n",
        },
    )
    write_notebook(project / "notebooks" / "note.ipynb", "x = 1")


def second(stage, project):
    """v2.0.0: changed, added, renamed and removed files, a mode, a table, two questions more."""
    write(
        project,
        {
            "docs/guide.md": None,
            "docs/manual.md": GUIDE.replace("figure 2 ", "picture 2 "),
            "docs/setup.md": None,
            "docs/install.md": GUIDE.replace("Step", "Install"),
            "docs/gone.md": None,
            "docs/old.md": None,
            "docs/plan.md": "one\n2\nthree\n",
            "docs/new.md": "new\n",
            "docs/logo.png": b"\x89PNG\0two",
            "docs/icon.png": b"\x89PNG\0due",
            "docs/people.md": "by {{ cookiecutter.author_name }}, {{ cookiecutter.team }}\n",
        },
    )
    (project / "docs/tool.sh").chmod(0o755)
    write_notebook(project / "notebooks" / "note.ipynb", "x = 2")
    edit(project / "pyproject.toml", '"tqdm>=4.67,<5"', '"tqdm>=4.66,<5"')
    path = stage / "cookiecutter.json"
    table = json.loads(path.read_text("utf-8"))
    table["_storages"]["local"]["login"] = LOGIN
    path.write_text(json.dumps(table, indent=2, ensure_ascii=False) + "\n", "utf-8")
    ask_more(stage, "team", "{{ cookiecutter.author_name }}s", "Team")
    ask_more(stage, "pace", ["slow", "fast"], {"__prompt__": "Pace", "slow": "S", "fast": "F"})


def third(stage, project):
    """v3.0.0: a question renamed, two merged, an answer replaced, a file moved and rewritten."""
    table = json.loads((stage / "cookiecutter.json").read_text("utf-8"))
    for question in ("team", "pace"):
        del table[question], table["__prompts__"][question]
    table |= {"squad": "nobody", "licence": ["closed", "open"]}
    table["__prompts__"] |= {"squad": "Squad", "licence": "Licence"}
    table["license"].remove("MIT")
    (stage / "cookiecutter.json").write_text(json.dumps(table, indent=2) + "\n")
    write(
        project,
        {
            "docs/plan.md": "one\nTWO\nthree\n",
            "docs/people.md": None,
            f"docs/{FOLDER}/crew.md": "{{ cookiecutter.squad }}, all\nand\nmore\n",
        },
    )
    migration = {
        "rename": {"team": "squad"},
        "map": [
            {"if": {"license": "MIT", "pace": "slow"}, "then": MAPPED},
            {"if": {"license": "LicenseRef-Proprietary", "pace": "slow"}, "then": KEPT},
        ],
        "move": {"docs/people.md": "docs/{project_slug}/crew.md"},
    }
    write(stage, {"migrations.json": json.dumps({"v3.0.0": migration})})


MAPPED = {"license": "Apache-2.0", "licence": "open"}
KEPT = {"license": "LicenseRef-Proprietary", "licence": "closed"}


def broken(stage, project):
    """A version that forgets an answer."""
    table = json.loads((stage / "cookiecutter.json").read_text("utf-8"))
    table["license"].remove("LicenseRef-Proprietary")
    (stage / "cookiecutter.json").write_text(json.dumps(table, indent=2) + "\n")


@pytest.fixture(scope="session")
def releases(scratch, template, git):
    """A remote with releases, a checkout of it, and a configuration for `gh:`."""
    stage = scratch / "stage"
    git(scratch, "clone", "--quiet", template, stage)
    makers = {"v1.0.0": first, "v2.0.0": second, "broken": broken, "v3.0.0": third}
    for tag, maker in makers.items():
        if tag == "v3.0.0":
            git(stage, "checkout", "--quiet", "-B", "main", "v2.0.0")
        maker(stage, stage / FOLDER)
        git(stage, "add", "--all")
        git(stage, "commit", "--quiet", "--message", tag)
        git(stage, "tag", tag)
    bare = scratch / "releases" / "org" / "cd4ml-template.git"
    git(scratch, "clone", "--quiet", "--bare", stage, bare)
    home = scratch / "releases.json"
    folders = {"cookiecutters_dir": str(scratch / "cc"), "replay_dir": str(scratch / "rp")}
    abbreviations = {"gh": f"{bare.parents[1].as_uri()}/{{0}}.git"}
    home.write_text(json.dumps({"abbreviations": abbreviations, **folders}))
    return {"url": bare.as_uri(), "path": bare, "config": home, "stage": stage}


@pytest.fixture(scope="session")
def generate(render, releases, scratch):
    """Return the project of a release and some answers, generated once: copy it to change it."""

    @functools.cache
    def generate(tag, **answers):
        folder = scratch / " ".join((tag, *answers.values()))
        options = ("--config-file", releases["config"], "--checkout", tag)
        render(folder, *options, source="gh:org/cd4ml-template", **answers)
        return folder / SLUG

    return generate


@pytest.fixture(name="project")
def outdated(generate, tmp_path):
    """A project of v1.0.0, to change at will; import it, since conftest.py has another."""
    return copy(generate("v1.0.0"), tmp_path / SLUG)


@pytest.fixture(scope="session")
def renewed(generate):
    """A new project of v2.0.0."""
    return generate("v2.0.0")


def rendered(project):
    """What a project holds apart from where it came from."""
    return {path: what for path, what in read(project).items() if path != ".cruft.json"}


@pytest.fixture(scope="session")
def update(user):
    """Run the verb in a project."""

    def update(project, *arguments, check=True, **variables):
        return user(*VERB, *arguments, cwd=project, check=check, **variables)

    return update


def refuse(project, update, git, *arguments, **variables):
    """Expect a refusal that leaves everything as it is."""
    before, refs = read(project), git(project, "for-each-ref")
    found = git(project, "status", "--porcelain")
    done = update(project, *arguments, check=False, **variables)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("ERROR: ")
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert read(project) == before
    assert git(project, "for-each-ref") == refs
    assert git(project, "status", "--porcelain") == found
    return done


def set_state(git, project, **facts):
    """Change what the project knows of its template."""
    text = json.dumps(state(project) | facts)
    (project / ".cruft.json").write_text(text)
    commit(git, project, "Follow another")
