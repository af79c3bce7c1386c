"""A convolutional network that reads text letter by letter, after Zhang, Zhao and LeCun, arXiv 1509.01626."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from mxnet import gluon
from mxnet.gluon import nn

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789-,;.!?:'\"/\\|_@#$%^&*~`+=<>()[]{} "
LENGTH = 128
CATEGORIES = ["Books", "Electronics", "Food", "Music", "Shoes"]

_NUMBERS = {letter: number for number, letter in enumerate(ALPHABET)}


def encode(texts: Iterable[str]) -> Any:
    """Mark each letter of each text: float32 (texts, letters of the alphabet, 128), 0 elsewhere."""
    rows = list(texts)
    marks = np.zeros((len(rows), len(ALPHABET), LENGTH), np.float32)
    for row, text in enumerate(rows):
        for place, letter in enumerate(text.lower()[:LENGTH]):
            if letter in _NUMBERS:
                marks[row, _NUMBERS[letter], place] = 1
    return marks


class Crepe(gluon.HybridBlock):  # type: ignore[misc]  # mxnet has no types
    """Scores the categories of texts encoded by `encode`."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.HybridSequential()
        self.features.add(
            nn.Conv1D(64, kernel_size=7, activation="relu"),
            nn.MaxPool1D(pool_size=3, strides=3),
            nn.Conv1D(64, kernel_size=5, activation="relu"),
            nn.GlobalMaxPool1D(),  # what was found counts, not where: Crepe has more layers instead
            nn.Flatten(),
            nn.Dropout(0.3),
        )
        self.output = nn.Dense(len(CATEGORIES))

    def hybrid_forward(self, F: Any, x: Any) -> Any:  # noqa: N803  # Gluon's own name
        """Score the categories: (batch, letters, 128) to (batch, categories)."""
        return self.output(self.features(x))
