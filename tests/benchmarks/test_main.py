"""The command line of the benchmarks."""

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
