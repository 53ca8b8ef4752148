"""The requests that one turn of the event loop brings, ranked together.

Under load a turn brings many, and a ranking then costs about half: look-up and model are called
once, and their code stays in the processor's caches. A request alone waits for nobody.
"""

import asyncio

from ..ranking import Ranker, Ranking


class Batch:
    """Collects what is asked until the turn ends."""

    def __init__(self, ranker: Ranker) -> None:
        """Rank with a ranker."""
        self._ranker = ranker
        self._waiting: list[tuple[int, list[int], asyncio.Future[Ranking]]] = []

    async def rank(self, entity: int, chosen: list[int] | None) -> Ranking:
        """Rank for an entity; raises RefusedError for an action that the model lacks."""
        places = self._ranker.find(chosen)  # here, where it fails this request alone
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._run)
        future: asyncio.Future[Ranking] = loop.create_future()
        self._waiting.append((entity, places, future))
        return await future

    def _run(self) -> None:
        entities, places, futures = map(list, zip(*self._waiting, strict=True))
        self._waiting.clear()
        try:
            rankings = self._ranker.rank_together(entities, places)
        except Exception as fault:
            for future in futures:
                if not future.cancelled():
                    future.set_exception(fault)
            return
        for future, ranking in zip(futures, rankings, strict=True):
            if not future.cancelled():
                future.set_result(ranking)
