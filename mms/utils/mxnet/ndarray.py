"""Reading off a classifier's output, for archives of MMS 0.x. Worker process."""

from collections.abc import Sequence
from typing import Any


def top_probability(data: Any, labels: Sequence[str], top: int = 5) -> list[dict[str, Any]]:
    """Return the `top` likeliest labels as `{"probability": 0.9, "class": "cat"}`, likeliest first.

    `data` is an NDArray (1, classes), with or without further dimensions of size 1, or just (classes,).
    """
    probabilities = data.asnumpy()
    if probabilities.ndim > 1:
        probabilities = probabilities[0].reshape(probabilities.shape[1])
    likeliest = (-probabilities).argsort(kind="stable")[:top]
    return [{"probability": float(probabilities[index]), "class": labels[index]} for index in likeliest]
