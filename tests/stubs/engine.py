"""A docker client whose builds take no time; what runs on a host is docker.py's.

An image is its labels: `build` makes them of the arguments, `push` gives them to a real registry.
"""

import json
import os
import re
import runpy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import registry

IMAGES = Path(os.environ["STUB_FOLDER"]) / "images.json"
NAMES = {"GIT_REVISION": "org.opencontainers.image.revision", "MODEL_HASH": "ml.model.hash"}
NAMES |= {"DATA_HASH": "ml.data.hash"}


def build(words):
    """Remember an image; like docker, refuse a context that lacks what the Dockerfile copies."""
    tag = words[words.index("--tag") + 1]
    given = dict(word.split("=", 1) for word in words if re.match("[A-Z_]+=", word))
    for name in re.findall(r"^COPY (?!--)(\S+)", Path("Dockerfile").read_text(), re.M):
        if not Path(name).exists():
            sys.exit(f"ERROR: failed to compute cache key: {name}: not found")
    images = json.loads(IMAGES.read_text()) if IMAGES.exists() else {}
    names = {name: given[name] for name in NAMES if name in given}
    if "--target" in words:  # only the service's image says what model it holds
        names = {"GIT_REVISION": given["GIT_REVISION"]}
    images[tag] = {NAMES[name]: value for name, value in names.items()}
    IMAGES.write_text(json.dumps(images))


def push(words):
    """Give an image to its registry."""
    host, _, rest = words[-1].partition("/")
    repository, _, tag = rest.rpartition(":")
    registry.push(host, repository, tag, json.loads(IMAGES.read_text())[words[-1]])


if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    if verb in ("build", "push"):
        {"build": build, "push": push}[verb](rest)
    elif verb != "info":
        sys.path.insert(0, str(Path(__file__).parent))
        runpy.run_path(str(Path(__file__).with_name("docker.py")), run_name="__main__")
