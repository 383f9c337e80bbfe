"""Group commit: what comes while a call is under way is done together by the next one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class Grouped(Generic[Asked, Answer]):
    """One call for all that threads ask for at the same time. A thread alone waits for nobody.

    The first thread does what waits, its own and others'; those find their answers when their turn comes.
    """

    def __init__(
        self, together: Callable[[Sequence[Asked]], Sequence[Answer]], blames: tuple[type[Exception], ...]
    ) -> None:
        """`together` answers all or raises and has done nothing. After one of `blames`, which a single one of the group
        caused, each is tried by itself; any other error is everybody's."""
        self._together = together
        self._blames = blames
        self._waiting: list[tuple[Asked, Future[Answer]]] = []
        self._guard = threading.Lock()
        self._turn = threading.Lock()

    def __call__(self, asked: Asked) -> Answer:
        """The answer; raises what `together` raises."""
        mine: Future[Answer] = Future()
        with self._guard:
            self._waiting.append((asked, mine))
        with self._turn:
            if not mine.done():
                with self._guard:
                    group, self._waiting = self._waiting, []
                self._do(group)
        return mine.result()

    def _do(self, group: Sequence[tuple[Asked, Future[Answer]]]) -> None:
        try:
            answers = self._together([asked for asked, _ in group])
        except BaseException as error:  # whatever it is, nobody may be left waiting for an answer
            if len(group) > 1 and isinstance(error, self._blames):
                for one in group:
                    self._do([one])
                return
            for _, future in group:
                future.set_exception(error)
        else:
            for (_, future), answer in zip(group, answers, strict=True):
                future.set_result(answer)
