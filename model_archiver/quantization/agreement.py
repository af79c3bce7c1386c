"""How far a converted network agrees with the original, and how fast it is, for the option --quantize."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from model_archiver.quantization.network import Network

_ROUNDS = 5
_RUNS = 10

Outputs = list[list[Any]]
"""For each sample what `Network.run` returned."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """What two networks have in common on the same samples."""

    samples: int
    top1: float | None
    """Share of samples with the same likeliest class; None for a network without classes, one number a sample."""
    mean_difference: float
    """Mean over samples and outputs: the sum of all differences, as a share of the sum of the original's values."""
    largest_difference: float
    """Of any two values."""


def run_all(network: Network, samples: Sequence[Any]) -> Outputs:
    """Compute the outputs of all samples."""
    return [network.run(sample) for sample in samples]


def compare(expected: Outputs, actual: Outputs) -> Agreement:
    """Compare the outputs of two networks. The likeliest class is that of the first output, along its axis 1.

    For an output with further axes, such as a class for each pixel, the share of equal places counts.
    """
    import numpy as np

    shares, means, most = [], [], 0.0
    for original, other in zip(expected, actual, strict=True):
        if original[0].ndim > 1 and original[0].shape[1] > 1:
            shares.append(float(np.mean(original[0].argmax(1) == other[0].argmax(1))))
        for one, two in zip(original, other, strict=True):
            distance = np.abs(one - two)
            distance[~np.isfinite(distance)] = np.inf  # NaN must not look like agreement
            means.append(float(distance.sum() / max(np.abs(one).sum(), np.finfo(np.float32).tiny)))
            most = max(most, float(distance.max()))
    return Agreement(len(expected), float(np.mean(shares)) if shares else None, float(np.mean(means)), most)


def measure(networks: Sequence[Network], sample: Any) -> list[float]:
    """Return milliseconds a run of each network, batch 1; in turns, the least of several rounds."""
    rounds: list[list[float]] = [[] for _ in networks]
    for _ in range(_ROUNDS):
        for network, taken in zip(networks, rounds, strict=True):
            start = time.perf_counter()
            for _ in range(_RUNS):
                network.run(sample)
            taken.append((time.perf_counter() - start) * 1000 / _RUNS)
    return [min(taken) for taken in rounds]
