"""How the project is delivered, apart from what it predicts: one module a verb, and what it needs.

a change    check, reproduce; report (facts, plots, page), gate (gain, champion, rivals, revision),
            notebooks
trials      experiments (parallel), adoption
a version   image, publish (registry); release and review (environments, targets/)
the data    storage, relocation (place, repository, failure)
a schedule  watch, retrain; template_update (template, template_merge); proposal
around      context, providers/, forge, identity; doctor; git, package
"""


class DeliveryError(Exception):
    """One sentence for the person who runs a verb, and the exit code that goes with it."""

    def __init__(self, sentence: str, code: int = 1) -> None:
        """Code 1: the check says no; 2: used wrongly, or the set-up is incomplete."""
        super().__init__(sentence)
        self.code = code
