"""A failure of DVC, or of a library below it, in one sentence that says what to do."""

import errno
import logging
import re
from collections.abc import Iterator

DENIED = r"(?i)denied|forbidden|unauthori|credential|\b40[13]\b|authenti|accesskey|signature"
ABSENT = r"(?i)bucket.*not (exist|found)|NoSuchBucket|container.*not exist"
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Heard(logging.Handler):
    """Keeps the exceptions that libraries would print with their stacks."""

    def __init__(self) -> None:
        """Listen to DVC and to the libraries below it, in place of who listened before."""
        super().__init__(logging.ERROR)
        self.errors: list[BaseException] = []
        for name in ("", "dvc", "dvc_data", "dvc_objects"):
            logging.getLogger(name).handlers = [self]

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the exception of a record."""
        if record.exc_info and record.exc_info[1]:
            self.errors.append(record.exc_info[1])


def explain(errors: list[BaseException], url: str, login: str) -> str:
    """What went wrong first and what to do, from the exceptions in the order they came."""
    causes = list(trace(errors[0]))
    text = " ".join(f"{type(cause).__name__} {cause}" for cause in causes)
    said = next((line for line in map(first_line, causes[::-1]) if line), type(causes[-1]).__name__)
    if any(isinstance(cause, OSError) and cause.errno in FULL for cause in causes):
        return f"the disk is full ({said}): make room"
    if re.search(DENIED, text):
        return f"{url} refuses ({said}). {login.rstrip('.')}"
    if re.search(ABSENT, text) or isinstance(causes[0], FileNotFoundError):
        return f"{url} does not exist ({said}): make that bucket or folder, or mend .dvc/config"
    if type(causes[0]).__module__.startswith("dvc."):
        return first_line(causes[0])
    return f"{url} does not answer ({said}): see that it is up and within reach"


def first_line(error: BaseException) -> str:
    """What an exception says, without further lines."""
    return str(error).strip().partition("\n")[0].rstrip(". ")


def trace(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and what it came from."""
    while error:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
