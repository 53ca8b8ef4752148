"""Refresh: the online features of newer events, swapped under the running service.

Between two trainings: the model and params.yaml stay as they are. `make refresh UNTIL=2026-07-03`
takes everything up to the end of that day (UTC), without UNTIL up to the last midnight. Where
FEATURES_STORE names a Redis, it gets them, too.
`make reproduce` puts back the table of the commit.
"""

import datetime
import os
import sys
import tempfile
from pathlib import Path

from . import collect, features, params, publish, stage
from .errors import StageError
from .params import Params
from .store import ONLINE, Store


def main() -> None:
    """Collect again up to UNTIL, compute the online features alone, and swap them in."""
    until = last_day()
    refresh(params.load(), until)
    publish.publish()
    print(f"the features are those at the end of {until}", file=sys.stderr)


def last_day() -> datetime.date:
    """The day UNTIL of the environment, else yesterday (UTC); StageError if it is not a day."""
    yesterday = datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(days=1)
    given = os.environ.get("UNTIL")
    try:
        return datetime.date.fromisoformat(given) if given else yesterday
    except ValueError:
        raise StageError(f"UNTIL is a day such as {yesterday}, not {given}") from None


def refresh(parameters: Params, until: datetime.date) -> None:
    """Rebuild the store from everything up to a day; raises StageError if it has more already."""
    section = parameters.collect.model_copy(update={"until": until})
    newer = parameters.model_copy(update={"collect": section})
    if ONLINE.exists():
        with Store(ONLINE) as store:
            if (cutoff := store.meta["cutoff"]) > newer.collect.cutoff.isoformat():
                raise StageError(f"the features are of {cutoff} already, later than {until}")
    ONLINE.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".refresh-", dir=ONLINE.parent) as folder:
        collect.snapshot(newer, Path(folder, "raw"))
        features.compute(newer, Path(folder, "raw"), None, ONLINE)


if __name__ == "__main__":
    stage.run(main)
