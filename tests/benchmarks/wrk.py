"""Load from wrk, with every answer checked."""

import os
import resource
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("load.lua")
MARK = "BENCHMARK "
MOST_ANSWERS = 2_000_000
"""Of one run, whatever its time: a bound on what a mistake can cost."""


class LoadError(Exception):
    """The load could not be made, or an answer was wrong: the row means nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One request, sent by so many clients at once."""

    concurrency: int
    body: bytes
    content_type: str = "application/octet-stream"
    expected: bytes
    contains: bool = False
    """Whether `expected` need only be a part of the answer."""
    may_be_busy: bool = False
    """Whether 503 is an answer as good as any."""


def run_wrk(url: str, load: Load, *, seconds: float, folder: Path) -> dict[str, float]:
    """Put load on `url` and return what came of it: requests a second, milliseconds, CPU time of the client.

    Raises LoadError unless every answer was right.
    """
    (folder / "body").write_bytes(load.body)
    (folder / "expected").write_bytes(load.expected)
    environment = {
        **os.environ,
        "BENCH_BODY": str(folder / "body"),
        "BENCH_EXPECTED": str(folder / "expected"),
        "BENCH_CONTENT_TYPE": load.content_type,
        "BENCH_CONTAINS": "1" if load.contains else "0",
        "BENCH_MOST": str(MOST_ANSWERS),
    }
    command = ["wrk", "-t1", f"-c{load.concurrency}", f"-d{max(1, round(seconds))}s", "--timeout", "60s"]
    before = _children_cpu_s()
    try:
        done = subprocess.run(
            [*command, "-s", str(SCRIPT), url],
            env=environment,
            capture_output=True,
            text=True,
            timeout=seconds + 90,
            start_new_session=True,  # Ctrl-C is for us; we end it
        )
    except FileNotFoundError as exc:
        raise LoadError("wrk is not installed; on Debian: apt-get install wrk") from exc
    except subprocess.TimeoutExpired as exc:
        raise LoadError(f"wrk did not end: {exc}") from exc
    return parse_report(done.stdout, load, client_s=_children_cpu_s() - before, error=done.stderr)


def parse_report(output: str, load: Load, *, client_s: float, error: str = "") -> dict[str, float]:
    """Read what load.lua printed at its end."""
    lines = [line for line in output.splitlines() if line.startswith(MARK)]
    if not lines:
        raise LoadError(f"wrk reported nothing: {(error or output).strip()[-500:]}")
    report = {name: float(value) for name, _, value in (item.partition("=") for item in lines[0].split()[1:])}
    _check(report, load)
    seconds = report["duration"] / 1e6
    answers = report["good"] + report["busy"]
    figures = {
        "answers": answers,
        "requests_per_s": answers / seconds,
        "p50_ms": report["p50"] / 1000,
        "p75_ms": report["p75"] / 1000,
        "p90_ms": report["p90"] / 1000,
        "p99_ms": report["p99"] / 1000,
        "p999_ms": report["p999"] / 1000,
        "client_cpu_us": client_s * 1e6 / answers,
    }
    if load.may_be_busy:
        figures["good_per_s"] = report["good"] / seconds
    return figures


def _check(report: Mapping[str, float], load: Load) -> None:
    problems = {
        name: report[name]
        for name in ("wrong_status", "wrong_body", "connect_errors", "write_errors", "timeout_errors")
    }
    if not load.may_be_busy:
        # A connection that was refused work is closed, perhaps while wrk still reads: only then is that no fault.
        problems |= {"busy": report["busy"], "read_errors": report["read_errors"]}
    found = ", ".join(f"{name} {count:.0f}" for name, count in problems.items() if count)
    if found or not report["good"]:
        raise LoadError(found or "no answer was good")


def _children_cpu_s() -> float:
    """Return the CPU time of the children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
