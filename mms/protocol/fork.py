"""How the front end asks a host process for a worker, and what it hears of its workers. Both processes import it."""

import json
import struct
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import NamedTuple

from mms.protocol.frames import FrameError

FORK = b"F"
"""Asks for one worker. Travels with four descriptors: its end of a socketpair, then its stdin, stdout and stderr."""
FORK_DESCRIPTORS = 4

_REPORT = struct.Struct("<Iiq")
_LENGTH = struct.Struct("<I")


class ForkEvent(IntEnum):
    """What happened to a worker, or to the wish for one."""

    FORKED = 1
    REFUSED = 2
    """The system did not let the host fork; the number is the errno."""
    ENDED = 3
    """The number is the exit code, negative for the signal that ended it."""


class ForkReport(NamedTuple):
    """One message of a host process. FORKED and REFUSED answer the requests in their order."""

    event: ForkEvent
    pid: int
    number: int = 0


def encode_report(report: ForkReport) -> bytes:
    """Return the bytes of one report."""
    return _REPORT.pack(*report)


class ReportReader:
    """Cut a stream of bytes into reports."""

    def __init__(self) -> None:
        self._rest = b""

    def received(self, data: bytes) -> Iterator[ForkReport]:
        """Yield the reports that `data` completes. Raises FrameError for bytes that are none."""
        data = self._rest + data
        whole = len(data) // _REPORT.size * _REPORT.size
        self._rest = data[whole:]
        for event, pid, number in _REPORT.iter_unpack(data[:whole]):
            try:
                yield ForkReport(ForkEvent(event), pid, number)
            except ValueError as exc:
                raise FrameError(f"{event} is no event of a fork") from exc


class Surroundings(NamedTuple):
    """What a worker that was forked before it had a model finds around it, as if it had been started there by itself.

    The first thing that comes through its socket.
    """

    folder: str
    environment: dict[str, str]
    name: str
    """Of its model, for whoever lists the processes."""


def encode_surroundings(surroundings: Surroundings) -> bytes:
    """Return their bytes."""
    # As ASCII: names of files need not be Unicode, and their surrogates travel as escapes.
    data = json.dumps(surroundings).encode("ascii")
    return _LENGTH.pack(len(data)) + data


def read_surroundings(read: Callable[[int], bytes]) -> Surroundings:
    """Undo `encode_surroundings`, taking no byte more from `read`, which returns as many as it is told or fewer."""
    (length,) = _LENGTH.unpack(_read_all(read, _LENGTH.size))
    return Surroundings(*json.loads(_read_all(read, length)))


def _read_all(read: Callable[[int], bytes], count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = read(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data
