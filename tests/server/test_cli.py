"""The command lines as users type them, with the real server behind them. MMS's texts, streams and exit codes."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from mms.server.pid_file import MARKER

ROOT = Path(__file__).parents[2]
ANY_PORT = "inference_address=http://127.0.0.1:0\nmanagement_address=http://127.0.0.1:0\n"
CALLS = {
    "new": "from mms.server.cli import multi_model_server as main",
    "old": "from mms.server.cli import mxnet_model_server as main",
    "export": "from mms.server.cli import multi_model_export as main",
}


@dataclass
class CommandLine:
    """A folder with its own temp folder, in which commands are run."""

    folder: Path
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    @property
    def environ(self) -> dict[str, str]:
        temp = str(self.folder / "tmp")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MMS_", "LOG_", "METRICS_"))}
        return kept | {"TMPDIR": temp, "TEMP": temp, "PYTHONPATH": str(ROOT)}

    @property
    def pid_file(self) -> Path:
        return self.folder / "tmp" / ".model_server.pid"

    def command(self, args: Sequence[str], name: str = "new") -> list[str]:
        # -P: as for an installed script, the current folder is not searched.
        return [sys.executable, "-P", "-c", f"{CALLS[name]}; main()", *args]

    def run(
        self, *args: str, name: str = "new", environ: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command whose output does not stay open behind it."""
        environment = self.environ | dict(environ or {})
        command = self.command(args, name)
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    def start(self, *args: str) -> tuple[int, str]:
        """Start a server in the background; return the launcher's exit code and what was printed."""
        with (self.folder / "out").open("w+") as out:
            code = subprocess.run(
                self.command(args), cwd=self.folder, env=self.environ, stdout=out, stderr=out, timeout=60, check=False
            ).returncode
            out.seek(0)
            return code, out.read()

    def spawn(self, *args: str, stdout: int) -> "subprocess.Popen[bytes]":
        """Run a command beside the test, until it ends or the test does."""
        process = subprocess.Popen(self.command(args), cwd=self.folder, env=self.environ, stdout=stdout)
        self.processes.append(process)
        return process

    def server(self) -> psutil.Process:
        return psutil.Process(int(self.pid_file.read_text()))


@pytest.fixture
def line(tmp_path: Path) -> Iterator[CommandLine]:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "config.properties").write_text(ANY_PORT)
    one = CommandLine(tmp_path)
    yield one
    if one.pid_file.exists():
        one.run("--stop")
    for process in one.processes:
        process.kill()
        process.wait()


def is_gone(process: psutil.Process) -> bool:
    """Whether it ended; in a container without an init process nobody may reap it."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def until_started(line: CommandLine, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 30
    while "Model server started." not in (line.folder / "out").read_text():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_start_returns_when_it_listens_and_stop_when_it_is_gone(line: CommandLine) -> None:
    code, output = line.start("--start")
    assert code == 0
    assert output.splitlines()[-1] == "Model server started."
    server = line.server()
    address = re.search(r"Listening on http://127.0.0.1:(\d+)", output)
    assert address
    socket.create_connection(("127.0.0.1", int(address[1])), timeout=10).close()

    second = line.run("--start")
    assert second.returncode == 1
    assert second.stdout == ("Model server is already running, please use multi-model-server --stop to stop MMS.\n")

    stopped = line.run("--stop")
    assert (stopped.returncode, stopped.stdout, stopped.stderr) == (0, "Model server stopped.\n", "")
    assert is_gone(server)
    assert not line.pid_file.exists()
    assert line.run("--stop").stdout == "Model server is not currently running.\n"


def test_marker_is_an_argument_of_the_server_and_of_nothing_else(line: CommandLine) -> None:
    line.start()
    server = line.server()
    assert MARKER in server.cmdline()
    assert [child for child in server.children(recursive=True) if MARKER in child.cmdline()] == []
    assert os.getsid(server.pid) == server.pid


def test_a_folder_named_mms_is_not_taken_for_the_package(line: CommandLine) -> None:
    (line.folder / "mms").mkdir()
    (line.folder / "mms" / "__init__.py").write_text("raise SystemExit('wrong package')")
    assert line.start("--start")[0] == 0


def test_closed_terminal_does_not_end_the_server(line: CommandLine) -> None:
    reader, writer = os.pipe()
    process = line.spawn("--start", stdout=writer)
    os.close(writer)
    os.close(reader)
    assert process.wait(60) == 0
    server = line.server()
    assert line.run("--stop").stdout == "Model server stopped.\n"
    assert is_gone(server)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_foreground_is_the_server_itself(line: CommandLine, number: signal.Signals) -> None:
    with (line.folder / "out").open("w") as out:
        process = line.spawn("--foreground", stdout=out.fileno())
    until_started(line, process)
    assert line.server().pid == process.pid
    assert MARKER in psutil.Process(process.pid).cmdline()
    process.send_signal(number)
    assert process.wait(60) == 0
    assert not line.pid_file.exists()


def test_of_two_starts_at_once_one_wins(line: CommandLine) -> None:
    with (line.folder / "out").open("w") as out:
        launchers = [line.spawn("--start", stdout=out.fileno()) for _ in range(2)]
        assert sorted(launcher.wait(60) for launcher in launchers) == [0, 1]
    assert "Model server is already running" in (line.folder / "out").read_text()


@pytest.mark.parametrize("content", ["999999", "1", "garbage\n"])
def test_file_left_behind_does_not_hinder_a_start(line: CommandLine, content: str) -> None:
    line.pid_file.write_text(content)
    code, output = line.start("--start")
    assert code == 0
    assert output.splitlines()[0] == "Removing orphan pid file."


def test_stop_with_a_file_left_behind(line: CommandLine) -> None:
    line.pid_file.write_text("999999")
    stopped = line.run("--stop")
    assert (stopped.returncode, stopped.stdout) == (0, "Model server already stopped.\n")
    assert not line.pid_file.exists()


def test_stop_with_a_damaged_file(line: CommandLine) -> None:
    line.pid_file.write_text("garbage\n")
    stopped = line.run("--stop")
    assert (stopped.returncode, stopped.stdout) == (1, "")
    assert re.fullmatch(
        r"Pid file \S+ holds no process number\. Remove it if no model server is running\.\n", stopped.stderr
    )
    line.pid_file.unlink()


@pytest.mark.parametrize("mode", ["--start", "--foreground"])
def test_wrong_setting_is_said_once(line: CommandLine, mode: str) -> None:
    (line.folder / "config.properties").write_text("inference_address=localhost:8080\n")
    result = line.run(mode)
    assert (result.returncode, result.stdout, result.stderr) == (
        1,
        "Invalid configuration: Invalid binding address: localhost:8080\n",
        "",
    )
    assert not line.pid_file.exists()


@pytest.mark.parametrize("mode", ["--start", "--foreground"])
def test_port_in_use_is_said_and_exit_code_1(line: CommandLine, mode: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        (line.folder / "config.properties").write_text(ANY_PORT + f"inference_address={address}\n")
        result = line.run(mode)
    assert result.returncode == 1
    assert result.stderr.startswith(f"Failed to bind to address {address}: Address already in use")
    assert len(result.stderr.splitlines()) == 1
    assert not line.pid_file.exists()


@pytest.mark.parametrize(
    ("args", "environ", "output"),
    [
        (["--mms-config", "nosuch"], {}, "--mms-config file not found: nosuch"),
        (["--mms-config", "tmp"], {}, "--mms-config file not found: tmp"),
        (["--model-store", "config.properties"], {}, "--model-store directory not found: config.properties"),
        (["--log-config", "nosuch.xml"], {}, "--log-config file not found: {folder}/nosuch.xml"),
        (["--models", "noop.mar"], {}, "--model-store is required to load model locally."),
        (["--models", "a=noop.mar"], {}, "--model-store is required to load model locally."),
        (["--models", "http://127.0.0.1:1/m.mar", "b"], {}, "--model-store is required to load model locally."),
        (
            [],
            {"TEMP": "/nonexistent/tmp"},
            "Invalid temp directory: /nonexistent/tmp, please check TEMP environment variable.",
        ),
    ],
)
def test_what_is_wrong_on_the_command_line_goes_to_stdout(
    line: CommandLine, args: list[str], environ: dict[str, str], output: str
) -> None:
    result = line.run(*args, environ=environ)
    expected = output.format(folder=line.folder.resolve()) + "\n"
    assert (result.returncode, result.stdout, result.stderr) == (1, expected, "")


@pytest.mark.parametrize(
    "args",
    [["--version"], ["--bogus"], ["something"], ["--start", "--stop"], ["--mod"], ["--models"], ["--mms-config"]],
)
def test_usage_errors_exit_with_2(line: CommandLine, args: list[str]) -> None:
    result = line.run(*args)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("Usage: multi-model-server")


def test_help_and_version(line: CommandLine) -> None:
    for flag in ("-h", "--help"):
        result = line.run(flag)
        assert result.returncode == 0
        assert result.stdout.startswith("Usage: multi-model-server")
        assert "--log-config" in result.stdout
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", line.run("-V").stdout)


def test_old_name_warns_first(line: CommandLine) -> None:
    result = line.run("--stop", name="old")
    assert (result.returncode, result.stdout) == (
        0,
        "Warning: Calling MMS with mxnet-model-server. Please move to multi-model-server.\n"
        "Model server is not currently running.\n",
    )


def test_export_says_what_took_its_place(line: CommandLine) -> None:
    result = line.run("--model-name", "x", name="export")
    assert result.returncode == 0
    assert result.stdout == (
        "\033[93mmulti-model-export is no longer supported.\n"
        "Please use model-archiver to create 1.0 model archive.\n"
        "For more detail, see: https://pypi.org/project/model-archiver\033[0m\n"
    )
