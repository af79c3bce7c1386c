"""The pid file, with real processes that look like servers."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mms.server.pid_file import MARKER, AlreadyRunning, DaemonError, DamagedPidFile, PidFile

# Holds the pid file given as its last argument until its input ends.
HOLDER = """
import sys
from pathlib import Path
from mms.server.pid_file import PidFile
with PidFile(Path(sys.argv[-1])).claim(lambda: None):
    print("ready", flush=True)
    sys.stdin.read()
"""
Spawn = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def pid_file(tmp_path: Path) -> PidFile:
    return PidFile(tmp_path / "server.pid")


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    processes: list[subprocess.Popen[bytes]] = []

    def start(script: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", script, *arguments]
        environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ)
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def idle(spawn: Spawn, *arguments: str) -> "subprocess.Popen[bytes]":
    return spawn("import sys; print('ready', flush=True); sys.stdin.read()", *arguments)


def test_default_is_in_the_temp_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert PidFile().path == tmp_path / ".model_server.pid"


def test_no_file_means_no_server(pid_file: PidFile) -> None:
    assert not pid_file.exists()
    assert pid_file.server() is None


def test_file_holds_the_number_and_goes_with_its_holder(pid_file: PidFile) -> None:
    with pid_file.claim(pytest.fail):
        assert int(pid_file.path.read_text()) == os.getpid()
    assert not pid_file.exists()


def test_server_is_found_by_its_file(pid_file: PidFile, spawn: Spawn) -> None:
    process = spawn(HOLDER, MARKER, str(pid_file.path))
    server = pid_file.server()
    assert server is not None
    assert server.pid == process.pid
    with pytest.raises(AlreadyRunning), pid_file.claim(pytest.fail):
        pass
    process.communicate()
    assert not pid_file.exists()


def test_file_of_a_killed_server_is_an_orphan(pid_file: PidFile, spawn: Spawn) -> None:
    process = spawn(HOLDER, MARKER, str(pid_file.path))
    process.kill()
    process.wait()
    assert pid_file.exists()
    assert pid_file.server() is None
    orphans: list[int] = []
    with pid_file.claim(lambda: orphans.append(1)):
        assert int(pid_file.path.read_text()) == os.getpid()
    assert orphans == [1]


def test_number_of_a_stranger_is_an_orphan(pid_file: PidFile, spawn: Spawn) -> None:
    pid_file.path.write_text(str(idle(spawn).pid))
    assert pid_file.server() is None


def test_number_of_a_server_with_another_file_is_an_orphan(pid_file: PidFile, spawn: Spawn, tmp_path: Path) -> None:
    other = spawn(HOLDER, MARKER, str(tmp_path / "other.pid"))
    pid_file.path.write_text(str(other.pid))
    assert pid_file.server() is None


@pytest.mark.parametrize("text", ["999999999", "0", "9" * 50])
def test_number_of_no_process_is_an_orphan(pid_file: PidFile, text: str) -> None:
    pid_file.path.write_text(text)
    assert pid_file.server() is None
    pid_file.discard()
    assert not pid_file.exists()


@pytest.mark.parametrize("text", ["garbage\n", "", "-5", "12x", "\xff"])
def test_damaged_file_is_an_error_and_replaced_by_a_start(pid_file: PidFile, text: str) -> None:
    pid_file.path.write_text(text)
    with pytest.raises(DamagedPidFile, match="holds no process number"):
        pid_file.server()
    orphans: list[int] = []
    with pid_file.claim(lambda: orphans.append(1)):
        pass
    assert orphans == [1]


def test_a_link_is_never_followed(pid_file: PidFile, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    pid_file.path.symlink_to(tmp_path / "victim")
    with pytest.raises(DaemonError, match="cannot be used"), pid_file.claim(pytest.fail):
        pass
    pid_file.discard()
    assert (tmp_path / "victim").read_text() == "precious"
    assert pid_file.exists()


def test_a_folder_in_its_place_is_an_error(pid_file: PidFile) -> None:
    pid_file.path.mkdir()
    with pytest.raises(DaemonError, match="is no file"), pid_file.claim(pytest.fail):
        pass


def test_a_folder_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(DaemonError, match="cannot be written: No such file"),
        PidFile(tmp_path / "a/b").claim(pytest.fail),
    ):
        pass


def test_file_that_is_held_is_not_discarded(pid_file: PidFile, spawn: Spawn) -> None:
    spawn(HOLDER, MARKER, str(pid_file.path))
    pid_file.discard()
    assert pid_file.exists()


def test_of_many_at_once_one_wins(pid_file: PidFile) -> None:
    # Locks belong to open files, so threads with files of their own contend as processes do. The process of the tests
    # has no marker, hence losers give up only after waiting for the lock; they must never both have it.
    pid_file.path.write_text("999999999")
    barrier, inside, peaks = threading.Barrier(6), [0], []

    def start() -> None:
        barrier.wait()
        try:
            with PidFile(pid_file.path).claim(lambda: None):
                inside[0] += 1
                peaks.append(inside[0])
                inside[0] -= 1
        except AlreadyRunning:
            pass

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(peaks) == {1}
    assert not pid_file.exists()
