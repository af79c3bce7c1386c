"""`python -m tests.benchmarks`: measure, save, and draw."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType

import click
import psutil

from .catalogue import scenarios_under_load
from .documentation import Documentation, read_results, write_results
from .entrants import DEFAULT, ON_REQUEST, Places, find_peers
from .machine import describe_machine, is_busy
from .models import CHECKOUT
from .once import scenarios_without_load
from .peers import Peer
from .plots import draw
from .report import Results, to_markdown, to_results
from .rows import Bench, Options, Row, Scenario, select
from .servers import ServerError
from .wrk import LoadError

DEFAULT_ROWS = ("noop-*", "cold-ping", "idle")
MISHAPS = (ServerError, LoadError, OSError, subprocess.SubprocessError, psutil.Error)
"""What ends some rows, not the run."""


@click.command()
@click.option("--rows", "-r", "patterns", multiple=True, help="Rows by name or pattern; repeatable. `*` means all.")
@click.option("--list", "only_list", is_flag=True, help="Show the rows and end.")
@click.option(
    "--peers",
    default=",".join(DEFAULT),
    show_default=True,
    help=f"Who takes part; {' and '.join(ON_REQUEST)} can be added.",
)
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=3.0, show_default=True, help="Of load, in each round on each server.")
@click.option("--warm-up", default=30.0, show_default=True, help="Seconds of load on each JVM before its first round.")
@click.option("--python", type=click.Path(path_type=Path, exists=True), help="The interpreter that runs our server.")
@click.option("--before", type=click.Path(path_type=Path, exists=True), help="Another checkout, to compare with.")
@click.option("--mms-venv", type=click.Path(path_type=Path, exists=True), help="Virtual environment of the real MMS.")
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    envvar="MMS_BENCHMARK_CACHE",
    default=CHECKOUT / "tests" / ".cache" / "benchmarks",
    help="Where the servers are installed to, each into its own virtual environment.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=CHECKOUT / "build" / "benchmarks",
    help="For the results.",
)
@click.option("--docs", is_flag=True, help="Put the rows in the place of those in docs/, and draw its plots again.")
@click.option(
    "--draw", "drawn", type=click.Path(path_type=Path, exists=True), help="Only draw an earlier results.json."
)
def main(
    patterns: Sequence[str],
    only_list: bool,
    peers: str,
    rounds: int,
    seconds: float,
    warm_up: float,
    python: Path | None,
    before: Path | None,
    mms_venv: Path | None,
    cache: Path,
    out: Path,
    docs: bool,
    drawn: Path | None,
) -> None:
    """Measure this server beside its peers, and compare it with the project's goals."""
    scenarios: list[Scenario] = [*scenarios_under_load(), *scenarios_without_load()]
    every_row = [row for scenario in scenarios for row in scenario.rows]
    if only_list:
        for row in every_row:
            click.echo(f"{row.name:20} {row.title}")
        return
    names = [row.name for row in every_row]
    documentation = Documentation(CHECKOUT / "docs") if docs else None
    try:
        chosen = select(scenarios, patterns or DEFAULT_ROWS) if drawn is None else []
        results = read_results(drawn) if drawn is not None else {}
        if documentation is not None:
            documentation.refuse_to_lose(names, [*results, *(row.name for _, rows in chosen for row in rows)])
        if chosen:
            places = Places(
                cache=cache,
                python=python and python.absolute(),
                before=before and before.absolute(),
                mms_venv=mms_venv and mms_venv.absolute(),
            )
            taking_part = find_peers(peers.split(","), places, report=lambda text: click.echo(text, err=True))
            results = measure_all(taking_part, chosen, Options(rounds=rounds, seconds=seconds, warm_up_s=warm_up))
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    save(results, out)
    if documentation is not None:
        documentation.publish(results, names)
    sys.exit(1 if any(row["failures"] for row in results.values()) else 0)


def measure_all(peers: Sequence[Peer], chosen: Sequence[tuple[Scenario, Sequence[Row]]], options: Options) -> Results:
    """Measure rows, until the end or Ctrl-C."""
    if shutil.which("wrk") is None:
        raise click.ClickException("wrk is not installed; on Debian: apt-get install wrk")
    machine = describe_machine()
    signal.signal(signal.SIGTERM, _leave)  # as Ctrl-C: what was started is stopped on the way out
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        bench = Bench(peers, Path(folder), options)
        if is_busy():
            bench.say("The machine is busy: only large differences will mean something.")
        try:
            for scenario, rows in chosen:
                bench.say(", ".join(row.name for row in rows))
                try:
                    scenario.run(bench, rows)
                except MISHAPS as exc:
                    for row in rows:
                        bench.fail(row, "all", f"{type(exc).__name__}: {exc}")
        except KeyboardInterrupt:
            bench.say("interrupted: what was measured so far is saved")
        return to_results(bench.results, machine, asdict(options))


def save(results: Results, out: Path) -> None:
    """Write results into a folder, and show them."""
    out.mkdir(parents=True, exist_ok=True)
    tables = to_markdown(results)
    write_results(out / "results.json", results)
    (out / "results.md").write_text(tables)
    draw(results, out)
    click.echo(tables)
    click.echo(f"Saved in {os.path.relpath(out)}.", err=True)


def _leave(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
