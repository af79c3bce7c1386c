"""From a model's output to an answer."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def top_probability(data: Any, labels: Sequence[str], top: int = 5) -> list[dict[str, Any]]:
    """Name the `top` likeliest classes, best first: `[{"class": "tabby, tabby cat", "probability": 0.57}, ...]`.

    `data` is an NDArray or a numpy array of one probability a class, shape (classes,) or (1, classes), perhaps
    followed by dimensions of size 1. The first row counts where there are several.
    """
    values = data.asnumpy() if hasattr(data, "asnumpy") else np.asarray(data)
    row = (values if values.ndim == 1 else values[0]).reshape(-1)
    if len(labels) < len(row):
        raise ValueError(f"The model has {len(row)} classes, but only {len(labels)} labels are known.")
    best = np.argsort(-row, kind="stable")[:top]
    return [{"class": labels[index], "probability": float(row[index])} for index in best]
