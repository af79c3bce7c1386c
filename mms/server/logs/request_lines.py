"""The three lines that every prediction adds to the logs, made for many predictions at once. Front process."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from mms.protocol.messages import PREDICTION_TIME
from mms.server.logs.escape import one_line
from mms.server.logs.layout import ACCESS, MMS_METRICS, MODEL_METRICS
from mms.server.logs.outlet import Outlet
from mms.server.logs.pattern import Timed

Entry = tuple[Outlet, Sequence[object]]
"""Items, oldest first, and the outlet that made them of lines."""
Stamps = Sequence[tuple[Outlet, Callable[[Timed], Sequence[object]]]]
"""Where the lines of a stream go, and what makes items there of times and messages."""

TOGETHER = 32
"""Answers whose lines are made in one go. That takes a fifth of a millisecond, in which nobody is answered: with many
more the slowest answers would suffer, and with fewer the gain is lost."""

_Answer = tuple[float, str, str, str, str, int, int]
_Batch = tuple[float, str, Sequence[str], float]
T = TypeVar("T")


class RequestLines:
    """Notes what is to be logged of each request, and makes lines of it later.

    Made right behind one another they take less time: what one needs is still in the processor's caches. Whoever hands
    in anything else takes what `form` returns first, so that lines keep their order. Any thread may call anything.
    """

    def __init__(self, host: str, stamps: Mapping[str, Stamps]) -> None:
        self._host = host
        self._stamps = stamps
        self._answers: deque[_Answer] = deque()
        self._batches: deque[_Batch] = deque()
        self._count = (0, 0, "")

    def answered(self, peer: str, method: str, target: str, version: str, status: int, milliseconds: int) -> bool:
        """Note one answer; say whether there are enough to make lines of."""
        self._answers.append((time.time(), peer, method, target, version, status, milliseconds))
        return len(self._answers) >= TOGETHER

    def predicted(self, model_name: str, request_ids: Sequence[str], milliseconds: float) -> None:
        """Note how long a handler worked on one batch."""
        self._batches.append((time.time(), model_name, request_ids, milliseconds))

    def form(self) -> list[Entry]:
        """Make the lines of all that was noted."""
        if not self._answers and not self._batches:
            return []
        access, counts, times = [], [], []
        for created, peer, method, target, version, status, milliseconds in _taken(self._answers):
            access.append((created, one_line(f'/{peer} "{method} {target} {version}" {status} {milliseconds}')))
            counts.append((created, self._one_answer(status // 100, int(created))))
        for created, model_name, request_ids, taken_ms in _taken(self._batches):
            # Nothing but the name comes from elsewhere.
            what = f"{PREDICTION_TIME}.Milliseconds:{taken_ms}|#ModelName:{one_line(model_name)},Level:Model"
            where = f"hostname:{self._host},requestID:{','.join(request_ids)},timestamp:{int(created)}"
            times.append((created, f"{what}|#{where}"))
        return [
            (outlet, stamp(lines))
            for stream, lines in ((ACCESS, access), (MMS_METRICS, counts), (MODEL_METRICS, times))
            if lines
            for outlet, stamp in self._stamps[stream]
        ]

    def _one_answer(self, hundreds: int, second: int) -> str:
        """Return the metric of one answer: the same text for all of a second with the same class of status."""
        known = self._count
        if known[:2] != (hundreds, second):
            text = f"Requests{hundreds}XX.Count:1|#Level:Host|#hostname:{self._host},timestamp:{second}"
            # In one step: any thread may make lines.
            known = self._count = (hundreds, second, text)
        return known[2]


def _taken(items: deque[T]) -> Iterator[T]:
    """Take what is there now out of a queue that other threads empty too."""
    for _ in range(len(items)):
        try:
            yield items.popleft()
        except IndexError:
            return
