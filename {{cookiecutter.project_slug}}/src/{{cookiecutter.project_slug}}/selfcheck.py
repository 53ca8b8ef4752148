"""Check that the service is whole: its files are those of dvc.lock, and it ranks.

The image's build runs it: `python -m PACKAGE.selfcheck models=HASH data/features/online.lmdb=HASH`.
"""

import hashlib
import json
import sys
from pathlib import Path

from .errors import StageError
from .ranking import Ranker

UNKNOWN = 2**63 - 1


def main(arguments: list[str]) -> None:
    """Check the files that are named, then rank for somebody known and for somebody unknown."""
    for argument in arguments:
        name, _, expected = argument.partition("=")
        if (found := dvc_hash(Path(name))) != expected:
            raise StageError(f"{name} is {found}, but dvc.lock says {expected or 'nothing'}")
    ranker = Ranker()
    known = ranker.rank(ranker.store.current().first(), None)
    if known.cold_start or not ranker.rank(UNKNOWN, None).cold_start:
        raise StageError("the service ranks, but by the wrong rule")
    print(f"ranks with model {ranker.version[:12]}")


def dvc_hash(path: Path) -> str:
    """The hash of a file or a folder as dvc.lock has it; OSError if it is missing."""
    if not path.is_dir():
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    files = sorted(file for file in path.rglob("*") if file.is_file())
    listed = [{"md5": dvc_hash(x), "relpath": x.relative_to(path).as_posix()} for x in files]
    content = json.dumps(listed, sort_keys=True).encode()
    return hashlib.md5(content, usedforsecurity=False).hexdigest() + ".dir"


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (StageError, OSError) as fault:
        sys.exit(f"ERROR: {fault}")
