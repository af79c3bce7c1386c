"""The command line of the benchmarks."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from .__main__ import main


def test_the_rows_can_be_listed() -> None:
    result = CliRunner().invoke(main, ["--list"])
    assert result.exit_code == 0
    assert "noop-32" in result.output


def test_an_unknown_row_is_a_usage_error() -> None:
    result = CliRunner().invoke(main, ["--rows", "nothing"])
    assert result.exit_code == 2
    assert "No row is called nothing." in result.output


def test_an_unknown_peer_is_a_usage_error() -> None:
    result = CliRunner().invoke(main, ["--peers", "ours,tomcat"])
    assert result.exit_code == 2
    assert "No peer is called tomcat." in result.output


def test_without_wrk_nothing_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = CliRunner().invoke(main, ["--peers", "ours", "--python", sys.executable, "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "wrk is not installed" in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("wrk") is None, reason="needs wrk")
def test_a_short_run_measures_and_saves(tmp_path: Path) -> None:
    options = ["--peers", "ours,aiohttp", "--rounds", "1", "--seconds", "1", "--out", str(tmp_path)]
    options += ["--python", sys.executable]
    result = CliRunner().invoke(main, ["--rows", "noop-8", "--rows", "idle", "--rows", "cold-ping", *options])
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "results.json").read_text())
    assert list(rows) == ["noop-8", "cold-ping", "idle"]
    assert set(rows["noop-8"]["samples"]) == {"ours", "aiohttp"}
    assert "| noop-8 | ours |" in (tmp_path / "results.md").read_text()
