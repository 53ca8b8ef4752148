"""What the user can mend; apart from stage.py, so that the service needs none of its libraries."""


class StageError(Exception):
    """Something that the user can mend, told in one sentence."""


class UnavailableError(Exception):
    """A server that the service depends on does not answer; it may do so again."""
