"""What tests write into projects and read out of them."""

import json
import os
import re
import textwrap

SLUG = "promotion_ranker"
PARENT = "Next: cd promotion_ranker && make setup"


def read(project):
    """Every file of a project but those of git, with its bytes and whether it can be run."""
    files = [p for p in project.rglob("*") if p.is_file() and ".git" not in p.parts]
    return {str(p.relative_to(project)): (p.read_bytes(), os.access(p, os.X_OK)) for p in files}


def read_tracked(git, project):
    """The text of each file in git."""
    names = git(project, "ls-files", "-z").split("\0")[:-1]
    return {name: (project / name).read_bytes().decode("utf-8", "replace") for name in names}


def describe(git, project):
    """The state that a finished generation leaves: branch, number of commits, changes."""
    commits = git(project, "rev-list", "--count", "HEAD")
    branch = git(project, "symbolic-ref", "--short", "HEAD")
    return branch, int(commits), git(project, "status", "--porcelain")


DONE = ("main", 1, "")


def state(project):
    return json.loads((project / ".cruft.json").read_text("utf-8"))


def write_tool(path, text):
    """Put a shell script at a path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + textwrap.dedent(text))
    path.chmod(0o755)
    return path.parent


def write_notebook(path, source, output=None):
    """Write a notebook of one cell, with an output if asked."""
    shown = [{"name": "stdout", "output_type": "stream", "text": [output]}] if output else []
    cell = {"cell_type": "code", "id": "one", "metadata": {}, "source": [source]}
    cell |= {"execution_count": 1 if output else None, "outputs": shown}
    note = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(note, indent=1, sort_keys=True) + "\n")
    return path


def edit(path, old, new):
    """Replace text in a file, which must be there."""
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def write(folder, files):
    """Write text and bytes by their paths; None removes one."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.unlink()
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content, "utf-8")


def commit(git, project, message="Mine"):
    git(project, "add", "--all", ".")
    git(project, "commit", "--quiet", "--no-verify", "--message", message)


def codes(git, project):
    """What git says of each path: two letters; renames under the new name."""
    lines = git(project, "-c", "status.relativePaths=true", "status", "--short").splitlines()
    # git() strips the very first letter if it is a blank
    pairs = (re.fullmatch(r" ?(\S ?|.\S) (.+)", line) for line in lines)
    return {pair[2].split(" -> ")[-1]: pair[1].strip() for pair in pairs}


# a process group of its own that Ctrl-C stops, even if whoever runs the tests ignores it
ALONE = """
import os, signal, sys
os.setsid()
signal.signal(signal.SIGINT, signal.default_int_handler)
os.execv(sys.argv[1], sys.argv[1:])
"""
