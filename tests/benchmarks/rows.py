"""What is measured, by name, and where the figures are gathered."""

import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Protocol

from .figures import Goal, Values, rounded
from .models import Models
from .peers import Peer
from .servers import Server, Setup, running


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    name: str
    title: str
    goals: tuple[Goal, ...] = ()


@dataclass(slots=True)
class RowResult:
    """What the rounds measured."""

    row: Row
    samples: dict[str, list[Values]] = field(default_factory=dict)
    """Contestant -> one entry a round."""
    failures: dict[str, str] = field(default_factory=dict)
    """Contestant -> why it has no figures, or no more of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How long and how often."""

    rounds: int
    seconds: float
    warm_up_s: float
    """Of each JVM, before anything is measured."""


class Bench:
    """What all scenarios use: who takes part, the model store, a folder, and the results."""

    def __init__(self, peers: Sequence[Peer], folder: Path, options: Options) -> None:
        self.peers = {peer.name: peer for peer in peers}
        self.folder = folder
        self.options = options
        self.models = Models(folder / "models")
        self.results: dict[str, RowResult] = {}
        self._count = 0

    def running(self, peer: Peer, setup: Setup) -> AbstractContextManager[Server]:
        """Run a server with its model ready, in a folder of its own."""
        return running(peer, setup, self.new_folder(peer.name))

    def new_folder(self, name: str) -> Path:
        """Name a folder that nobody has used."""
        self._count += 1
        return self.folder / f"{self._count}-{name}"

    def record(self, row: Row, contestant: str, values: Values) -> None:
        """Keep what one round measured."""
        values = {name: rounded(value) for name, value in values.items()}
        self._result(row).samples.setdefault(contestant, []).append(values)
        shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        self.say(f"  {row.name:18} {contestant:16} {shown}")

    def fail(self, row: Row, contestant: str, why: str) -> None:
        """Keep why a contestant has no further figures in a row."""
        self._result(row).failures[contestant] = why
        self.say(f"  {row.name:18} {contestant:16} FAILED: {why}")

    def has_failed(self, row: Row, contestant: str) -> bool:
        """Whether `fail` was called for it."""
        return row.name in self.results and contestant in self.results[row.name].failures

    def say(self, text: str) -> None:
        """Show progress."""
        print(text, file=sys.stderr, flush=True)

    def _result(self, row: Row) -> RowResult:
        return self.results.setdefault(row.name, RowResult(row))


class Scenario(Protocol):
    """Rows that are measured on the same servers."""

    @property
    def rows(self) -> Sequence[Row]:
        """All that it can measure."""

    def run(self, bench: Bench, rows: Sequence[Row]) -> None:
        """Measure some of its rows."""


@dataclass(frozen=True, slots=True)
class Steps:
    """A scenario that is one function."""

    rows: Sequence[Row]
    function: Callable[[Bench, Sequence[Row]], None]

    def run(self, bench: Bench, rows: Sequence[Row]) -> None:
        """See Scenario.run."""
        self.function(bench, rows)


def select(scenarios: Iterable[Scenario], patterns: Sequence[str]) -> list[tuple[Scenario, list[Row]]]:
    """Choose rows by name or by pattern, such as `noop-*`; a pattern that fits none is a ValueError."""
    scenarios = list(scenarios)
    for pattern in patterns:
        if not any(fnmatch(row.name, pattern) for scenario in scenarios for row in scenario.rows):
            raise ValueError(f"No row is called {pattern}.")
    chosen = [
        (scenario, [row for row in scenario.rows if any(fnmatch(row.name, pattern) for pattern in patterns)])
        for scenario in scenarios
    ]
    return [(scenario, rows) for scenario, rows in chosen if rows]
