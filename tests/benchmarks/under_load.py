"""Rows that put load on servers which run side by side, in turns: A B A B."""

import contextlib
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from .figures import Values
from .models import difference
from .peers import Peer
from .rows import Bench, Row
from .servers import Server, ServerError, Setup
from .wrk import Load, LoadError, run_wrk

WARM_UP_MODEL = "warm-up"
SHORT_WARM_UP_S = 2.0
"""Of a server that compiles nothing while it runs."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """A peer with what it serves."""

    name: str
    peer: Peer
    setup: Setup


Lineup = Callable[[Bench], Sequence[Contestant]]


@dataclass(frozen=True, slots=True)
class UnderLoad:
    """A scenario: all contestants run at once, one at a time is put under load."""

    loads: Mapping[Row, Callable[[], Load]]
    lineup: Lineup
    answers_agree: bool = False
    """Whether the contestants' answers to one request must be the same; what they answer is expected from then on."""
    warmed_by: str = ""
    """Which of models.HANDLERS warms up what compiles, where the model is so slow that few requests would come."""
    differ: Callable[[bytes, bytes], str] = difference
    """Says how two of these answers differ too much, or nothing."""
    prepare: Callable[[str, Server], None] | None = None
    """What is done to a contestant, by its name, once its model is ready."""
    limits: Callable[[Bench], Mapping[str, Callable[[], Values]]] | None = None
    """Names further contestants, which are no servers: what measures in each round what no server can exceed."""

    @property
    def rows(self) -> Sequence[Row]:
        """See Scenario.rows."""
        return list(self.loads)

    def run(self, bench: Bench, rows: Sequence[Row]) -> None:
        """See Scenario.run."""
        loads = {row: self.loads[row]() for row in rows}
        with contextlib.ExitStack() as stack:
            servers = self._start(bench, rows, stack)
            if self.prepare is not None:
                for name, server in servers.items():
                    self.prepare(name, server)
            expected = self._expected(bench, servers, loads)
            for name, server in servers.items():
                largest = max((expected[name, row] for row in rows), key=lambda load: load.concurrency)
                warm_up(bench, name, server, largest, by=self.warmed_by)
            limits = self.limits(bench) if self.limits is not None else {}
            for number in range(bench.options.rounds):
                bench.say(f"round {number + 1} of {bench.options.rounds}")
                for row in rows:
                    turns: dict[str, Callable[[], Values]] = {
                        name: partial(measure, bench, server, expected[name, row]) for name, server in servers.items()
                    }
                    turns |= limits
                    # Forth and back, so that a machine that slows down or speeds up favours nobody.
                    for name in list(turns) if number % 2 == 0 else reversed(turns):
                        take_turn(bench, row, name, turns[name])

    def _start(self, bench: Bench, rows: Sequence[Row], stack: contextlib.ExitStack) -> dict[str, Server]:
        servers = {}
        for contestant in self.lineup(bench):
            try:
                servers[contestant.name] = stack.enter_context(bench.running(contestant.peer, contestant.setup))
            except (ServerError, OSError, subprocess.SubprocessError) as exc:
                for row in rows:
                    bench.fail(row, contestant.name, str(exc))
        return servers

    def _expected(
        self, bench: Bench, servers: Mapping[str, Server], loads: Mapping[Row, Load]
    ) -> dict[tuple[str, Row], Load]:
        """Return what each contestant is to be asked; where they must agree, with what it answered before."""
        if not self.answers_agree:
            return {(name, row): load for name in servers for row, load in loads.items()}
        expected = {}
        answers: dict[str, bytes] = {}
        for name, server in servers.items():
            answers[name] = server.predict(next(iter(loads.values())).body)
            first, answer = next(iter(answers.items()))
            problem = self.differ(answer, answers[name])
            for row, load in loads.items():
                expected[name, row] = load if load.contains else replace(load, expected=answers[name])
                if problem:
                    bench.fail(row, name, f"answers otherwise than {first}: {problem}")
        return expected


def warm_up(bench: Bench, name: str, server: Server, load: Load, *, by: str = "") -> None:
    """Put a load on a server that is not measured: long, where it gets faster while it runs; UnderLoad.warmed_by."""
    seconds = bench.options.warm_up_s if server.compiles else SHORT_WARM_UP_S
    bench.say(f"warm-up of {name}: {seconds:g} s")
    load = replace(load, may_be_busy=True)
    try:
        if by and server.compiles:
            server.register(WARM_UP_MODEL, archive=bench.models.archive(by))
            echoed = replace(load, expected=load.body, contains=False)
            run_wrk(server.predictions(WARM_UP_MODEL), echoed, seconds=seconds, folder=bench.folder)
            server.unregister(WARM_UP_MODEL)
            # A JVM compiles anew what a larger answer or another pace makes it go through.
            seconds = max(SHORT_WARM_UP_S, seconds / 3)
        run_wrk(server.predictions(), load, seconds=seconds, folder=bench.folder)
    except (LoadError, ServerError) as exc:
        bench.say(f"the warm-up of {name} failed: {exc}")  # the rounds will tell whether it matters


def take_turn(bench: Bench, row: Row, name: str, turn: Callable[[], Values]) -> None:
    """Record what one contestant comes to in one round, unless it failed before."""
    if bench.has_failed(row, name):
        return
    try:
        bench.record(row, name, turn())
    except LoadError as exc:
        bench.fail(row, name, str(exc))


def measure(bench: Bench, server: Server, load: Load) -> dict[str, float]:
    """Put load on a server for one round; what it used is part of the result. Raises LoadError."""
    before = server.processes.cpu()
    values = run_wrk(server.predictions(), load, seconds=bench.options.seconds, folder=bench.folder)
    after = server.processes.cpu()
    answers = values.pop("answers")
    values["front_cpu_us"] = (after.front_s - before.front_s) * 1e6 / answers
    values["worker_cpu_us"] = (after.workers_s - before.workers_s) * 1e6 / answers
    return values | server.processes.memory()


def everybody(setup: Callable[[Bench], Setup], *names: str) -> Lineup:
    """Let those of the named peers that are there serve the same."""

    def lineup(bench: Bench) -> list[Contestant]:
        return [Contestant(name, bench.peers[name], setup(bench)) for name in names if name in bench.peers]

    return lineup
