"""The command `model-archiver`: options, messages, exit codes."""

import os
import pty
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from model_archiver.cli import main


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def run_on_terminal(*args: str | Path) -> tuple[int, str]:
    """Run the command with a terminal as stdout and stderr."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "model_archiver", *map(str, args)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=follower, stderr=follower)
    os.close(follower)
    output = b""
    while True:
        try:
            chunk = os.read(leader, 65536)
        except OSError:  # Linux's way to say that the other side has been closed
            break
        if not chunk:
            break
        output += chunk
    os.close(leader)
    return process.wait(30), output.decode()


@pytest.fixture
def options(model: Path, out: Path) -> list[str]:
    return ["--model-name", "m", "--model-path", str(model), "--handler", "service:handle", "--export-path", str(out)]


def test_success_is_silent(options: list[str], out: Path) -> None:
    result = run(*options)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert (out / "m.mar").exists()


def test_success_is_one_line_on_a_terminal(options: list[str], out: Path) -> None:
    code, output = run_on_terminal(*options)
    assert code == 0
    size = (out / "m.mar").stat().st_size
    assert output == f"Wrote {out / 'm.mar'}: 4 files, {size:,} bytes.\r\n"


def test_a_missing_handler_module_is_mentioned_on_a_terminal_only(options: list[str]) -> None:
    wrong = [*options, "-f", "--handler", "nosuch:handle"]
    assert run(*wrong).stderr == ""
    code, output = run_on_terminal(*wrong)
    assert code == 0
    assert "WARNING - The module of handler nosuch:handle is not in the model path" in output


def test_a_missing_handler_function_is_always_mentioned(options: list[str]) -> None:
    result = run(*options, "--handler", "service:nosuch")
    assert result.exit_code == 0
    assert result.stderr.startswith("WARNING - ")
    assert "has no function nosuch" in result.stderr


def test_a_large_model_shows_a_bar_on_a_terminal(options: list[str], model: Path, out: Path) -> None:
    with (model / "large.bin").open("wb") as file:
        file.truncate(50_000_000)
    code, output = run_on_terminal(*options)
    assert code == 0
    assert "Packing" in output
    assert "100%" in output
    assert "Packing" not in run(*options, "-f").stderr


def test_errors_are_in_mms_words_on_stderr(options: list[str], out: Path) -> None:
    run(*options)
    result = run(*options)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == (
        f"ERROR - {out / 'm.mar'} already exists.\n"
        "Please specify --force/-f option to overwrite the model archive output file.\n"
        "See -h/--help for more details.\n"
    )


@pytest.mark.parametrize("flag", ["-f", "--force"])
def test_overwriting_is_a_warning(options: list[str], out: Path, flag: str) -> None:
    run(*options)
    result = run(*options, flag)
    assert (result.exit_code, result.stderr) == (0, f"WARNING - Overwriting {out / 'm.mar'} ...\n")


def test_checks_run_in_mms_order(model: Path) -> None:
    assert "Model name" in run("--model-name", "/", "--model-path", "x", "--handler", "h", "--export-path", "x").stderr
    assert "export-path" in run("--model-name", "m", "--model-path", "x", "--handler", "h", "--export-path", "x").stderr
    assert "model-path" in run("--model-name", "m", "--model-path", "x", "--handler", "h").stderr


def test_a_full_disk_is_one_line(options: list[str], out: Path) -> None:
    (out / "m.mar").symlink_to("/dev/full/nowhere")
    result = run(*options, "-f")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("ERROR - ")


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["--model-name", "m"],
        ["--bogus"],
        ["--version", "1.0"],
        ["--author", "me"],
        ["--engine", "MXNet"],
        ["--runtime", "ruby"],
        ["--archive-format", "rar"],
        ["stray"],
        ["--model", "m"],
    ],
)
def test_usage_errors_exit_with_2(options: list[str], args: list[str], out: Path) -> None:
    result = run(*(options if args and args[0] not in ("--model-name",) else []), *args)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Usage: ")
    assert list(out.iterdir()) == []


def test_a_flag_takes_no_value(options: list[str], out: Path) -> None:
    result = run(*options, "--force=yes")
    assert result.exit_code == 2
    assert "'--force' does not take a value" in result.stderr
    assert list(out.iterdir()) == []


def test_ambiguous_abbreviation_names_the_candidates(options: list[str]) -> None:
    result = run("--model", "x", *options)
    assert "ambiguous option: --model could match --model-name, --model-path" in result.stderr


def test_unique_abbreviations_are_accepted(model: Path, out: Path) -> None:
    result = run(
        "--model-n", "m", f"--model-p={model}", "--hand", "service:handle", "--exp", out, "--arch=tgz", "--for"
    )
    assert (result.exit_code, result.stderr) == (0, "")
    assert (out / "m.tar.gz").exists()


def test_a_value_is_not_taken_for_an_abbreviation(model: Path, out: Path) -> None:
    assert run("--model-name", "m", "--model-path", model, "--handler", "--for", "--export-path", out).exit_code == 0
    with zipfile.ZipFile(out / "m.mar") as archive:
        assert b'"handler": "--for"' in archive.read("MAR-INF/MANIFEST.json")


def test_an_empty_handler_is_allowed(model: Path, out: Path) -> None:
    result = run("--model-name", "m", "--model-path", model, "--handler", "", "--export-path", out)
    assert (result.exit_code, result.stderr) == (0, "")
    with zipfile.ZipFile(out / "m.mar") as archive:
        assert b'"handler": ""' in archive.read("MAR-INF/MANIFEST.json")


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_names_every_option(flag: str) -> None:
    result = run(flag)
    assert result.exit_code == 0
    for option in (
        "model-name",
        "model-path",
        "handler",
        "runtime",
        "export-path",
        "archive-format",
        "force",
        "convert",
    ):
        assert f"--{option}" in result.stdout
    assert "no-archive" in result.stdout


def test_a_narrow_terminal_does_not_break_messages(options: list[str], out: Path) -> None:
    command = [sys.executable, "-m", "model_archiver", *options]
    narrow = {**os.environ, "COLUMNS": "20"}
    subprocess.run(command, check=True, env=narrow)
    second = subprocess.run(command, check=False, env=narrow, capture_output=True, text=True)
    assert second.stderr.splitlines()[0] == f"ERROR - {out / 'm.mar'} already exists."
    bad = subprocess.run([*command, "--runtime", "ruby"], check=False, env=narrow, capture_output=True, text=True)
    assert "'ruby' is not one of 'python', 'python2', 'python3'" in bad.stderr


def test_command_leaves_the_logger_as_it_was(options: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    run(*options)
    run(*options)
    assert capfd.readouterr().err == ""
