"""Count words, and record metrics. Runs in a worker process. Handler: `word_count:handle`. Needs no model."""

import time
from typing import Any

from mms.context import Context
from mms.metrics.dimension import Dimension


def handle(data: list[dict[str, Any]] | None, context: Context) -> list[Any] | None:
    """Answer each text with its number of words. The call at load has no data: there is nothing to load."""
    if data is None:
        return None
    answers = []
    for index, request in enumerate(data):
        body = request.get("body", "")
        start = time.perf_counter()
        text = body.decode("utf-8", "replace") if isinstance(body, (bytes, bytearray)) else str(body)
        words = text.split()
        seconds = time.perf_counter() - start
        _record(context, index, text, words, seconds)
        answers.append({"words": len(words)})
    return answers


def _record(context: Context, index: int, text: str, words: list[str], seconds: float) -> None:
    metrics = context.metrics
    kind = "question" if text.rstrip().endswith("?") else "statement"
    metrics.add_counter("Words", len(words), idx=index, dimensions=[Dimension("Kind", kind)])
    metrics.add_time("SplitTime", round(seconds * 1000, 3), idx=index, unit="ms")
    metrics.add_size("TextSize", len(text), idx=index, unit="B")
    if not words:
        metrics.add_error("EmptyText", "a text without words")
        return
    capitals = sum(word[0].isupper() for word in words)
    metrics.add_percent("Capitalized", round(100 * capitals / len(words), 1), idx=index)
    metrics.add_metric("LongestWord", max(map(len, words)), idx=index, unit="letters")
