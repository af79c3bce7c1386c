"""Rows that put load on servers which run side by side, in turns: A B A B."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from .figures import Values
from .models import difference
from .peers import Peer
from .rows import Bench, Row
from .servers import Server, ServerError, Setup
from .wrk import Load, LoadError, run_wrk

LOOP = "loop"
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
    """Whether the expected answer is what the contestants answer themselves, which must be the same."""
    prepare: Callable[[str, Server], None] | None = None
    """What is done to a contestant, by its name, once its model is ready."""
    limit: Callable[[Bench], Values] | None = None
    """Measures in each round what no server can exceed; becomes the contestant LOOP."""

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
                self._warm_up(bench, name, server, [expected[name, row] for row in rows])
            for number in range(bench.options.rounds):
                bench.say(f"round {number + 1} of {bench.options.rounds}")
                for row in rows:
                    for name, server in servers.items():
                        if not bench.has_failed(row, name):
                            self._measure(bench, row, name, server, expected[name, row])
                    if self.limit is not None and not bench.has_failed(row, LOOP):
                        self._measure_limit(bench, row, self.limit)

    def _start(self, bench: Bench, rows: Sequence[Row], stack: contextlib.ExitStack) -> dict[str, Server]:
        servers = {}
        for contestant in self.lineup(bench):
            try:
                servers[contestant.name] = stack.enter_context(bench.running(contestant.peer, contestant.setup))
            except ServerError as exc:
                for row in rows:
                    bench.fail(row, contestant.name, str(exc))
        return servers

    def _expected(
        self, bench: Bench, servers: Mapping[str, Server], loads: Mapping[Row, Load]
    ) -> dict[tuple[str, Row], Load]:
        """Return what each contestant is to be asked; where they must agree, what it answered before."""
        if not self.answers_agree:
            return {(name, row): load for name in servers for row, load in loads.items()}
        expected = {}
        first = ""
        for name, server in servers.items():
            body = next(iter(loads.values())).body
            answer = server.predict(body)
            for row, load in loads.items():
                expected[name, row] = replace(load, expected=answer)
                problem = difference(expected[first or name, row].expected, answer)
                if problem:
                    bench.fail(row, name, f"answers otherwise than {first}: {problem}")
            first = first or name
        return expected

    def _warm_up(self, bench: Bench, name: str, server: Server, loads: Sequence[Load]) -> None:
        seconds = bench.options.warm_up_s if server.compiles else SHORT_WARM_UP_S
        bench.say(f"warm-up of {name}: {seconds:g} s")
        load = replace(max(loads, key=lambda load: load.concurrency), may_be_busy=True)
        with contextlib.suppress(LoadError):  # the rounds will tell
            run_wrk(server.predictions, load, seconds=seconds, folder=bench.folder)

    def _measure_limit(self, bench: Bench, row: Row, limit: Callable[[Bench], Values]) -> None:
        try:
            bench.record(row, LOOP, limit(bench))
        except LoadError as exc:
            bench.fail(row, LOOP, str(exc))

    def _measure(self, bench: Bench, row: Row, name: str, server: Server, load: Load) -> None:
        try:
            bench.record(row, name, measure(bench, server, load))
        except LoadError as exc:
            bench.fail(row, name, str(exc))


def measure(bench: Bench, server: Server, load: Load) -> dict[str, float]:
    """Put load on a server for one round; what it used is part of the result. Raises LoadError."""
    before = server.processes.cpu()
    values = run_wrk(server.predictions, load, seconds=bench.options.seconds, folder=bench.folder)
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
