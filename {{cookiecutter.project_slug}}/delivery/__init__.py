"""How the project is delivered, apart from what it predicts."""


class DeliveryError(Exception):
    """One sentence for the person who runs a verb, and the exit code that goes with it."""

    def __init__(self, sentence: str, code: int = 1) -> None:
        """Code 1: the check says no; 2: used wrongly, or the set-up is incomplete."""
        super().__init__(sentence)
        self.code = code
