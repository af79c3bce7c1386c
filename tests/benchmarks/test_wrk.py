"""The load, and the check of every answer."""

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from .wrk import Load, LoadError, parse_report, run_wrk

LOAD = Load(concurrency=2, body=b"x", expected=b"x")
FAULTS = ("busy", "wrong_status", "wrong_body", "connect_errors", "read_errors", "write_errors", "timeout_errors")
PERCENTILES = {"p50": 1000, "p75": 2000, "p90": 3000, "p99": 4000, "p999": 5000}
REPORT = {"duration": 2_000_000, "good": 1000} | dict.fromkeys(FAULTS, 0) | PERCENTILES


def printed(**changes: int) -> str:
    items = " ".join(f"{name}={count}" for name, count in (REPORT | changes).items())
    return f"Running 2s test @ http://127.0.0.1\nBENCHMARK {items}\n"


def test_figures_of_a_run() -> None:
    figures = parse_report(printed(), LOAD, client_s=0.02)
    assert figures["requests_per_s"] == 500
    assert (figures["p50_ms"], figures["p999_ms"]) == (1.0, 5.0)
    assert figures["client_cpu_us"] == pytest.approx(20)


@pytest.mark.parametrize("fault", FAULTS)
def test_one_wrong_answer_fails_the_run(fault: str) -> None:
    with pytest.raises(LoadError, match=f"{fault} 1"):
        parse_report(printed(**{fault: 1}), LOAD, client_s=0)


def test_refusals_count_apart_where_they_are_right() -> None:
    load = replace(LOAD, may_be_busy=True)
    figures = parse_report(printed(busy=3000, read_errors=5), load, client_s=0)
    assert (figures["requests_per_s"], figures["good_per_s"]) == (2000, 500)


def test_refusals_alone_fail_the_run() -> None:
    with pytest.raises(LoadError, match="no answer was good"):
        parse_report(printed(good=0, busy=10), replace(LOAD, may_be_busy=True), client_s=0)


def test_a_run_without_a_report_says_why() -> None:
    with pytest.raises(LoadError, match="unable to connect"):
        parse_report("", LOAD, client_s=0, error="unable to connect")


@contextlib.contextmanager
def bare_server(answer: str) -> Iterator[str]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    script = str(Path(__file__).with_name("bare.py"))
    with subprocess.Popen([sys.executable, script, str(port), answer]) as process:
        try:
            deadline = time.monotonic() + 20
            with socket.socket() as sock:
                while sock.connect_ex(("127.0.0.1", port)):
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
            yield f"http://127.0.0.1:{port}/predictions/bench"
        finally:
            process.terminate()


@pytest.mark.skipif(shutil.which("wrk") is None, reason="needs wrk")
def test_wrk_checks_every_answer(tmp_path: Path) -> None:
    load = replace(LOAD, body=b"before-x-behind", contains=True)
    with bare_server("echo") as url:
        assert run_wrk(url, load, seconds=1, folder=tmp_path)["answers"] > 0
        with pytest.raises(LoadError, match="wrong_body"):
            run_wrk(url, replace(load, contains=False), seconds=1, folder=tmp_path)
        with pytest.raises(LoadError, match="wrong_status"):
            run_wrk(f"{url}/nowhere", load, seconds=1, folder=tmp_path)
