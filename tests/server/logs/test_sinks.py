"""Log files on a real disk: rolling, compressing, counting, and what happens when they cannot be written."""

import gzip
import io
import os
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

from mms.server.logs.layout import FileTarget
from mms.server.logs.sinks import Console, RollingFile


def target(folder: Path, **changes: object) -> FileTarget:
    settings: dict[str, object] = {"rolled_path": f"{folder}/x.%d{{dd-MMM}}.log.gz"} | changes
    return FileTarget(path=folder / "x.log", pattern="%m%n", **settings)  # type: ignore[arg-type]  # any of the fields


@pytest.fixture
def complaints() -> list[str]:
    return []


@pytest.fixture
def make(tmp_path: Path, complaints: list[str]) -> Callable[..., RollingFile]:
    return lambda **changes: RollingFile(target(tmp_path, **changes), complaints.append)


def stamp() -> str:
    return date.today().strftime("%d-%b")


def unpacked(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode()


def test_file_exists_before_its_first_line_and_is_appended_to(tmp_path: Path, make: Callable[..., RollingFile]) -> None:
    make().close()
    assert (tmp_path / "x.log").read_text() == ""
    (tmp_path / "x.log").write_text("old\n")
    file = make()
    file.write("new\n")
    file.close()
    assert (tmp_path / "x.log").read_text() == "old\nnew\n"


def test_rolled_by_size_under_the_day_with_numbers(tmp_path: Path, make: Callable[..., RollingFile]) -> None:
    file = make(max_bytes=10)
    for line in ("one 678\n", "two 678\n", "three 8\n"):
        file.write(line)
    file.close()
    assert (tmp_path / "x.log").read_text() == "three 8\n"
    assert unpacked(tmp_path / f"x.{stamp()}.log.gz") == "one 678\n"
    assert unpacked(tmp_path / f"x.{stamp()}-1.log.gz") == "two 678\n"


def test_file_of_an_earlier_day_is_rolled_by_the_first_line(tmp_path: Path, make: Callable[..., RollingFile]) -> None:
    (tmp_path / "x.log").write_text("yesterday\n")
    yesterday = date.today() - timedelta(days=1)
    then = (tmp_path / "x.log").stat().st_mtime - 86400
    os.utime(tmp_path / "x.log", (then, then))
    file = make()
    file.write("today\n")
    file.close()
    assert (tmp_path / "x.log").read_text() == "today\n"
    assert unpacked(tmp_path / f"x.{yesterday.strftime('%d-%b')}.log.gz") == "yesterday\n"


def test_rolled_at_midnight(tmp_path: Path, complaints: list[str]) -> None:
    days = [date.today()]
    file = RollingFile(target(tmp_path), complaints.append, today=lambda: days[-1])
    file.write("a\n")
    file.write("b\n")
    days.append(date.today() + timedelta(days=1))
    file.write("c\n")
    file.close()
    assert (tmp_path / "x.log").read_text() == "c\n"
    assert unpacked(tmp_path / f"x.{stamp()}.log.gz") == "a\nb\n"


def test_only_the_newest_stay(tmp_path: Path, make: Callable[..., RollingFile]) -> None:
    file = make(max_bytes=1, keep=2)
    for number in range(6):
        file.write(f"{number}\n")
    file.close()
    assert sorted(unpacked(path) for path in tmp_path.glob("*.gz")) == ["3\n", "4\n"]


def test_log4j_numbers_without_compression(tmp_path: Path, make: Callable[..., RollingFile]) -> None:
    file = make(max_bytes=1, rolled_path=f"{tmp_path}/x.log.%i", daily=False)
    for number in range(3):
        file.write(f"{number}\n")
    file.close()
    assert (tmp_path / "x.log.1").read_text() == "0\n"
    assert (tmp_path / "x.log.2").read_text() == "1\n"


def test_a_roll_that_was_interrupted_is_finished_at_the_next_start(
    tmp_path: Path, make: Callable[..., RollingFile]
) -> None:
    (tmp_path / "x.log.rolling").write_text("rescued\n")
    make().close()
    assert unpacked(tmp_path / f"x.{stamp()}.log.gz") == "rescued\n"
    assert not (tmp_path / "x.log.rolling").exists()


def test_a_folder_that_cannot_be_made_is_reported_once_and_tried_again(tmp_path: Path, complaints: list[str]) -> None:
    (tmp_path / "logs").write_text("in the way")
    file = RollingFile(target(tmp_path / "logs"), complaints.append)
    file.write("lost\n")
    assert len(complaints) == 1
    assert str(tmp_path / "logs" / "x.log") in complaints[0]
    (tmp_path / "logs").unlink()
    file.write("kept\n")
    file.close()
    assert (tmp_path / "logs" / "x.log").read_text() == "kept\n"


def test_text_that_is_not_unicode_is_written_all_the_same(tmp_path: Path, make: Callable[..., RollingFile]) -> None:
    file = make()
    file.write("bad \udcff\n")
    file.close()
    assert (tmp_path / "x.log").read_text() == "bad \\udcff\n"


def test_console_writes_in_order_and_everything(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as stream:
        console = Console(stream)
        console.write("a\n")
        console.write("b \udcff é\n")
        console.close()
    assert (tmp_path / "out").read_text() == "a\nb \\udcff é\n"


def test_console_that_is_gone_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        console = Console(stream)
        console.write("a\n")
        console.flush()
        console.write("b\n")
        console.close()


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_console_without_a_file_is_no_error(stream: io.StringIO | None) -> None:
    console = Console(stream)
    console.write("a\n")
    console.close()


def test_console_that_nobody_reads_holds_up_nobody() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        console = Console(stream)
        for _ in range(3000):
            console.write("x" * 1000)
        os.close(reader)  # which also ends the write that is stuck
        console.close()
