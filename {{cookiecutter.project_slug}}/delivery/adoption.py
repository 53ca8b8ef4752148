"""Adopt an experiment of DVC: a branch with one commit, to be proposed as any change."""

import argparse
import re
import tempfile
from pathlib import Path

import yaml

from . import DeliveryError, experiments, revision
from .facts import Facts
from .git import git

PARAMS = "params.yaml"
LINE = re.compile(r"( *)([\w.-]+):( *)(.*?)(\s+#.*)?")


def adopt(arguments: list[str]) -> int:
    """Make a branch of an experiment; nothing that is checked out changes."""
    parser = argparse.ArgumentParser("adopt", description=adopt.__doc__)
    parser.add_argument("--experiment", required=True, help="its name, as `make experiments` says")
    parser.add_argument("--branch", help="default: that name")
    options = parser.parse_args(arguments)
    found, branch = experiments.listed(), options.branch or options.experiment
    if options.experiment not in found:
        names = ", ".join(found) or "none: `make tune` queues some, `make experiments` runs them"
        raise DeliveryError(f"no experiment is named {options.experiment!r}; there is {names}", 2)
    git("branch", "--no-track", branch, commit(options.experiment, found[options.experiment]))
    print(
        f"{branch} holds {options.experiment}: git checkout {branch}, then git push -u origin HEAD"
    )
    return 0


def commit(name: str, experiment: str) -> str:
    """Commit what an experiment made upon what it began from; DVC's way of writing YAML is left."""
    old, new = (Facts.read(name, side).parameters for side in (f"{experiment}^", experiment))
    changes = {key: value for key, value in new.items() if old.get(key) != value}
    before, after = (revision.read(PARAMS, side) or "" for side in (f"{experiment}^", experiment))
    text = changed(before, changes)
    if yaml.safe_load(text) != yaml.safe_load(after):
        text = after  # more than values of single lines
    told = ", ".join(f"{key} {value}" for key, value in changes.items())
    with tempfile.TemporaryDirectory() as folder:
        index, file = {"GIT_INDEX_FILE": f"{folder}/index"}, Path(folder, PARAMS)
        file.write_text(f"{text}\n")
        git("read-tree", experiment, env=index)
        blob = git("hash-object", "-w", str(file))
        git("update-index", "--cacheinfo", f"100644,{blob},{PARAMS}", env=index)
        tree = git("write-tree", env=index)
    subject = f"Adopt the experiment {name}" + (f": {told}" if told else "")
    return git("commit-tree", tree, "-p", f"{experiment}^", "-m", subject)


def changed(text: str, changes: dict[str, str]) -> str:
    """A YAML text with other values, by their names with dots; comments and all else stay."""
    lines, path = [], []
    for line in text.splitlines():
        if match := LINE.fullmatch(line):
            indent, key, space, value, comment = match.groups(default="")
            path = [*(part for part in path if part[0] < len(indent)), (len(indent), key)]
            if new := changes.get(".".join(name for _, name in path)):
                room = len(value) + len(comment) - len(comment.lstrip())
                comment = comment.lstrip()
                line = f"{indent}{key}:{space}" + (f"{new:<{room}}{comment}" if comment else new)
        lines.append(line)
    return "\n".join(lines)
