"""What a commit holds, read from git; None stands for the working tree."""

from pathlib import Path

import yaml

from . import DeliveryError
from .git import git


def read(path: str, revision: str | None = None) -> str | None:
    """The text of a file; None if it is not there."""
    if revision is None:
        return Path(path).read_text() if Path(path).exists() else None
    try:
        return git("show", f"{revision}:{path}")
    except DeliveryError:
        return None


def outputs(revision: str | None = None) -> dict[str, str]:
    """Hash of each output that dvc.lock names."""
    try:
        stages = (yaml.safe_load(read("dvc.lock", revision) or "") or {}).get("stages", {})
        outs = [out for stage in stages.values() for out in stage.get("outs", [])]
        return {out["path"]: out["md5"] for out in outs}
    except (yaml.YAMLError, AttributeError, KeyError, TypeError):
        raise DeliveryError("dvc.lock is damaged: take one side and `make reproduce`") from None
