"""What finally takes the text: rolled files and the console. Used by the threads of logs.py only. Front process."""

import contextlib
import gzip
import os
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import date
from io import FileIO
from pathlib import Path
from typing import TextIO

from mms.server.logs.batcher import Batcher
from mms.server.logs.layout import FileTarget
from mms.server.logs.pattern import date_format

Today = Callable[[], date]
Complain = Callable[[str], None]

_DATE = re.compile(r"%d(?:ate)?\{([^}]*)\}")
_CONSOLE_BLOCKS = 1000


class RollingFile:
    """One log file: appended to, rolled daily and by size, its rolled files compressed and counted.

    A file that cannot be written is reported once, and tried again with every batch.
    """

    def __init__(self, target: FileTarget, complain: Complain, today: Today = date.today) -> None:
        self._target = target
        self._complain = complain
        self._today = today
        self._file: FileIO | None = None
        self._bytes = 0
        self._day = today()
        self._complained = False
        with self._reported():
            self._open()

    def write(self, text: str) -> None:
        """Append whole lines."""
        data = text.encode("utf-8", "backslashreplace")
        with self._reported():
            if self._file is not None and self._is_due(len(data)):
                self._roll()
            if self._file is None:
                self._open()
            if self._file is not None:
                self._file.write(data)
                self._bytes += len(data)
                self._complained = False

    def close(self) -> None:
        """Close the file; `write` would open it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            self.close()
            if not self._complained:
                self._complained = True
                self._complain(
                    f"Log file {self._target.path} cannot be written: {exc.strerror or exc}; lines are lost."
                )

    def _open(self) -> None:
        path = self._target.path
        path.parent.mkdir(parents=True, exist_ok=True)
        # From a roll, of this process or of one that ended in the middle of it.
        if self._moved_aside().exists():
            self._keep_rolled(self._moved_aside())
        self._file = path.open("ab", buffering=0)
        state = path.stat()
        self._bytes = state.st_size
        # As log4j: a file of an earlier day, found at the start, is rolled by the first line.
        self._day = date.fromtimestamp(state.st_mtime) if state.st_size else self._today()

    def _is_due(self, coming: int) -> bool:
        target = self._target
        if self._bytes == 0:
            self._day = self._today()
            return False
        too_large = target.max_bytes > 0 and self._bytes + coming > target.max_bytes
        return too_large or (target.daily and self._day != self._today())

    def _roll(self) -> None:
        self.close()
        self._target.path.replace(self._moved_aside())
        self._open()

    def _moved_aside(self) -> Path:
        path = self._target.path
        return path.with_name(f"{path.name}.rolling")

    def _keep_rolled(self, source: Path) -> None:
        """Give a finished file its name, compress it, and remove the oldest."""
        destination = self._free_name(source.stat().st_mtime)
        destination.parent.mkdir(parents=True, exist_ok=True)
        if destination.suffix == ".gz":
            with source.open("rb") as plain, gzip.open(destination, "wb", compresslevel=6) as packed:
                shutil.copyfileobj(plain, packed, 1024 * 1024)
            source.unlink()
        else:
            source.replace(destination)
        rolled = sorted(self._rolled_files(), key=lambda path: path.stat().st_mtime)
        for old in rolled[: -self._target.keep]:
            old.unlink(missing_ok=True)

    def _free_name(self, last_written: float) -> Path:
        """Return a name that is not taken: by the pattern, or with a number where a day is rolled more than once."""
        name = _DATE.sub(lambda match: date_format(match[1])(last_written), self._target.rolled_path)
        if "%i" in name:
            numbered = (Path(name.replace("%i", str(number))) for number in range(1, 10000))
        else:
            ending = _ending(Path(name))
            stem = name.removesuffix(ending)
            numbered = (Path(f"{stem}{f'-{number}' if number else ''}{ending}") for number in range(10000))
        return next(path for path in numbered if not path.exists())

    def _rolled_files(self) -> list[Path]:
        pattern = Path(_DATE.sub("*", self._target.rolled_path).replace("%i", "*"))
        ending = _ending(pattern)
        globbed = pattern.name.removesuffix(ending).rstrip("*") + "*" + ending
        return [path for path in pattern.parent.glob(globbed) if path != self._target.path and path.is_file()]


def _ending(name: Path) -> str:
    """Return what stays at the end of a rolled file's name when it gets a number."""
    return "".join(suffix for suffix in name.suffixes[-2:] if suffix in (".log", ".gz"))


class Console:
    """Standard output or error, written by a thread of its own: a pipe that nobody reads holds up nobody else."""

    def __init__(self, stream: TextIO | None) -> None:
        self._fd: int | None = None
        # Python's stream is None when the process was started without one; in tests it may have no file behind it.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            # Not through the stream: what it cannot write stays in its buffer and fails again when the process ends.
            self._fd = os.dup(stream.fileno())  # type: ignore[union-attr]  # None is the AttributeError
        self._reported = 0
        self._batcher: Batcher[str] = Batcher(self._write, name="log-console", interval_s=0.0, limit=_CONSOLE_BLOCKS)

    def write(self, text: str) -> None:
        """Hand in whole lines."""
        self._batcher.put(text)

    def flush(self) -> None:
        """Wait until it is written, though not for ever."""
        self._batcher.flush()

    def close(self) -> None:
        """Write what is left and end the thread. The stream itself stays open."""
        self._batcher.close()

    def _write(self, blocks: list[str]) -> None:
        if (dropped := self._batcher.dropped) > self._reported:
            blocks = [*blocks, f"{dropped - self._reported} blocks of lines were not shown here: nobody read them.\n"]
            self._reported = dropped
        data = "".join(blocks).encode("utf-8", "backslashreplace")
        while data and self._fd is not None:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:  # another process made the pipe non-blocking, and it is full
                return
            except OSError:  # the terminal or the reader is gone
                os.close(self._fd)
                self._fd = None
