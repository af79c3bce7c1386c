"""AlexNet, written in Gluon twice: as a hybrid and as an imperative network. Both read the same parameter file.

A quarter as wide as the original (Krizhevsky et al., 2012) and for images of 64 x 64 pixels: it trains in seconds.
"""

from typing import Any

from mxnet import gluon
from mxnet.gluon import nn


def _features(sequence: Any) -> Any:
    sequence.add(
        nn.Conv2D(16, kernel_size=11, strides=4, padding=5, activation="relu"),
        nn.MaxPool2D(pool_size=3, strides=2),
        nn.Conv2D(48, kernel_size=5, padding=2, activation="relu"),
        nn.MaxPool2D(pool_size=3, strides=2),
        nn.Conv2D(96, kernel_size=3, padding=1, activation="relu"),
        nn.Conv2D(64, kernel_size=3, padding=1, activation="relu"),
        nn.Conv2D(64, kernel_size=3, padding=1, activation="relu"),
        nn.Flatten(),
        nn.Dense(128, activation="relu"),
        nn.Dropout(0.5),
        nn.Dense(128, activation="relu"),
        nn.Dropout(0.5),
    )
    return sequence


class HybridAlexNet(gluon.HybridBlock):  # type: ignore[misc]  # mxnet has no types
    """A network that MXNet can compile: `hybrid_forward` draws a graph, so it may only use operators of `F`."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.features = _features(nn.HybridSequential())
        self.output = nn.Dense(classes)

    def hybrid_forward(self, F: Any, x: Any) -> Any:  # noqa: N803  # Gluon's own name
        """Score the classes: (batch, 3, 64, 64) to (batch, classes)."""
        return self.output(self.features(x))


class ImperativeAlexNet(gluon.Block):  # type: ignore[misc]  # mxnet has no types
    """A network that runs as ordinary Python: `forward` may branch on values, look at arrays, print."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.features = _features(nn.Sequential())
        self.output = nn.Dense(classes)

    def forward(self, x: Any) -> Any:
        """Score the classes: (batch, 3, 64, 64) to (batch, classes)."""
        return self.output(self.features(x))
