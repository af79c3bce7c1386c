"""The arithmetic of the benchmarks: what several rounds come to, and whether a goal is reached."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Values = Mapping[str, float]
"""What one round measured of one contestant: metric -> value."""
UNITS: Mapping[str, str] = {"mib": "MiB", "kib": "KiB", "s": "s", "ms": "ms"}
"""By the end of a metric's name."""


@dataclass(frozen=True, slots=True)
class Spread:
    """What the rounds of one measurement come to."""

    median: float
    least: float
    most: float


def rounded(value: float) -> float:
    """Leave out the digits that no measurement has."""
    return float(f"{value:.5g}")


def spread(values: Sequence[float]) -> Spread:
    """Sum up the values of all rounds, of which there is at least one."""
    return Spread(rounded(statistics.median(values)), rounded(min(values)), rounded(max(values)))


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Divide round by round: what disturbs the machine for a while disturbs both sides of one round."""
    return [one / other for one, other in zip(ours, theirs, strict=False) if other]


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What a metric of a contestant should come to: alone, or as a ratio to another contestant's."""

    metric: str
    of: str = "ours"
    against: str | None = None
    at_least: float | None = None
    at_most: float | None = None

    def measured(self, samples: Mapping[str, Sequence[Values]]) -> Spread | None:
        """Return what the rounds came to; None where a contestant was not there or did not measure it."""
        own = [values[self.metric] for values in samples.get(self.of, ()) if self.metric in values]
        if self.against is not None:
            other = [values[self.metric] for values in samples.get(self.against, ()) if self.metric in values]
            own = ratios(own, other)
        return spread(own) if own else None

    def reached(self, measured: Spread) -> bool:
        """Whether the median is as good as the goal."""
        if self.at_least is not None and measured.median < self.at_least:
            return False
        return self.at_most is None or measured.median <= self.at_most

    def __str__(self) -> str:
        bound = f"at least {self.at_least:g}" if self.at_least is not None else f"at most {self.at_most:g}"
        unit = f"x {self.against}" if self.against is not None else UNITS.get(self.metric.rpartition("_")[2], "")
        who = "" if self.of == "ours" else f"{self.of}: "
        return f"{who}{bound} {unit}".strip()
