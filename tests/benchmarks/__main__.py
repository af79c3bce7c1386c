"""`python -m tests.benchmarks`: measure, save, and draw."""

import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType

import click

from .catalogue import scenarios_under_load
from .machine import describe_machine, is_busy
from .models import CHECKOUT
from .once import scenarios_without_load
from .peers import BareAiohttp, Ours, Peer, PeerMissing, RealMMS, install_mms
from .plots import draw
from .report import Results, insert, to_markdown, to_results
from .rows import Bench, Options, Row, Scenario, select

DEFAULT_ROWS = ("noop-*", "cold-ping", "idle")
PROGRAM = "tests.benchmarks"
PEER_NAMES = ("ours", "mms", "mms-tuned", "aiohttp")


@click.command()
@click.option("--rows", "-r", "patterns", multiple=True, help="Rows by name or pattern; repeatable. `*` means all.")
@click.option("--list", "only_list", is_flag=True, help="Show the rows and end.")
@click.option("--peers", default=",".join(PEER_NAMES), show_default=True, help="Who takes part.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=3.0, show_default=True, help="Of load, in each round on each server.")
@click.option("--warm-up", default=20.0, show_default=True, help="Seconds of load on each JVM before its first round.")
@click.option("--python", default=sys.executable, help="The interpreter that runs our server.")
@click.option("--before", type=click.Path(path_type=Path, exists=True), help="Another checkout, to compare with.")
@click.option("--mms-venv", type=click.Path(path_type=Path, exists=True), help="Virtual environment of the real MMS.")
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    envvar="MMS_BENCHMARK_CACHE",
    default=CHECKOUT / "tests" / ".cache" / "benchmarks",
    help="Where the real MMS is installed to, unless --mms-venv is given.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), default=CHECKOUT / "build" / "benchmarks", help="For the results."
)
@click.option("--docs", is_flag=True, help="Write the tables and plots into docs/ as well.")
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
    python: str,
    before: Path | None,
    mms_venv: Path | None,
    cache: Path,
    out: Path,
    docs: bool,
    drawn: Path | None,
) -> None:
    """Measure this server beside its peers, and compare it with the project's goals."""
    scenarios: list[Scenario] = [*scenarios_under_load(), *scenarios_without_load()]
    if only_list:
        for row in (row for scenario in scenarios for row in scenario.rows):
            click.echo(f"{row.name:20} {row.title}")
        return
    if drawn is not None:
        save(json.loads(drawn.read_text()), out, docs=docs)
        return
    try:
        chosen = select(scenarios, patterns or DEFAULT_ROWS)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    taking_part = find_peers(peers.split(","), Path(python), before=before, mms_venv=mms_venv, cache=cache)
    options = Options(rounds=rounds, seconds=seconds, warm_up_s=warm_up)
    machine = describe_machine()
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        bench = Bench(taking_part, Path(folder), options)
        try:
            measure_all(bench, chosen)
        finally:
            save(to_results(bench.results, machine, asdict(options)), out, docs=docs)
    sys.exit(1 if any(result.failures for result in bench.results.values()) else 0)


def measure_all(bench: Bench, chosen: Sequence[tuple[Scenario, Sequence[Row]]]) -> None:
    """Measure rows, until the end or Ctrl-C."""
    if is_busy():
        bench.say("The machine is busy: only large differences will mean something.")
    signal.signal(signal.SIGTERM, _leave)  # as Ctrl-C: what was started is stopped on the way out
    try:
        for scenario, rows in chosen:
            bench.say(", ".join(row.name for row in rows))
            scenario.run(bench, rows)
    except KeyboardInterrupt:
        bench.say("interrupted: what was measured so far is saved")


def find_peers(
    names: Sequence[str], python: Path, *, before: Path | None, mms_venv: Path | None, cache: Path
) -> list[Peer]:
    """Return those of the named peers that are there; the others are named on the terminal."""
    found: list[Peer] = [Ours(python, CHECKOUT)] if "ours" in names else []
    if before is not None:
        found.append(Ours(python, before.resolve(), name="before"))
    if "mms" in names or "mms-tuned" in names:
        try:
            venv = mms_venv or install_mms(cache)
        except PeerMissing as exc:
            click.echo(f"Without MMS: {exc}", err=True)
        else:
            found += [RealMMS(venv, tuned=name == "mms-tuned") for name in ("mms", "mms-tuned") if name in names]
    if "aiohttp" in names:
        found.append(BareAiohttp(python))
    return found


def save(results: Results, out: Path, *, docs: bool) -> None:
    """Write the results into a folder, and into the documentation too."""
    out.mkdir(parents=True, exist_ok=True)
    tables = to_markdown(results)
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (out / "results.md").write_text(tables)
    draw(results, out)
    if docs:
        insert(CHECKOUT / "docs" / "performance.md", PROGRAM, tables)
        draw(results, CHECKOUT / "docs" / "images")
    click.echo(tables)
    click.echo(f"Saved in {os.path.relpath(out)}.", err=True)


def _leave(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
