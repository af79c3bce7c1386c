"""Frames: lists of parts as bytes on a socket, without input or output of its own. Both processes import it.

A frame is a list of parts: `u32 count | u64 bytes of all parts | count x u64 length | part 0 | part 1 ...`,
little-endian. Texts and bodies are parts of their own, so an ordinary request needs no other coding, and a large body
is never copied into the frame: the sender writes it from where it lies, and the receiver reads it into memory of its
own.
"""

import struct
from collections.abc import Iterator, Sequence

from mms.protocol.messages import Pieces

Buffer = bytes | bytearray

BUFFER_BYTES = 1 << 18
"""Size of a reader's own buffer; a part that does not fit is received into memory of its own."""
SMALL_FRAME_BYTES = 1 << 16
"""Up to here one copy of the whole frame is quicker than to handle its parts one by one."""
SOCKET_BUFFER_BYTES = 1 << 22
"""What either side lets the kernel hold of what it sends, as far as the system allows: a large body then needs few
turns of sender and receiver."""
MAX_PARTS = 1 << 20
MAX_PART_BYTES = 1 << 40

_HEAD = struct.Struct("<IQ")


class FrameError(Exception):
    """The bytes are no frame of this protocol: the other side must not be trusted any further."""


def pack(parts: Sequence[Buffer]) -> list[Buffer]:
    """Return what to send for a frame: one buffer if it is small, else its head and then the parts themselves."""
    lengths = list(map(len, parts))
    size = sum(lengths)
    head = struct.pack(f"<IQ{len(lengths)}Q", len(lengths), size, *lengths)
    if size <= SMALL_FRAME_BYTES:
        return [b"".join((head, *parts))]
    buffers: list[Buffer] = [head]
    for part in parts:
        if isinstance(part, Pieces):
            buffers += part.pieces
        else:
            buffers.append(part)
    return buffers


class FrameReader:
    """Cut a stream of bytes into frames.

    Ask `get_buffer` where to receive to, tell `received` how much arrived, and take the frames that it yields.
    """

    def __init__(self, *, max_frame_bytes: int = MAX_PART_BYTES) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._buffer = bytearray(BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._start = 0
        self._end = 0
        self._count = 0
        """Of the parts of a large frame, once its head is read."""
        self._size = 0
        self._lengths: tuple[int, ...] = ()
        self._parts: list[Buffer] = []
        self._own: bytearray | None = None
        """The memory of a part that is being received, once it is known to be too large for the buffer."""
        self._own_view = memoryview(b"")
        self._own_end = 0

    def get_buffer(self, _sizehint: int = -1) -> memoryview:
        """Return the memory to receive into; never empty."""
        if self._own is not None:
            return self._own_view[self._own_end :]
        if self._start == self._end:
            self._start = self._end = 0
        elif self._end == BUFFER_BYTES:
            kept = self._end - self._start
            self._view[:kept] = self._view[self._start : self._end]
            self._start, self._end = 0, kept
        return self._view[self._end :]

    def received(self, count: int) -> Iterator[list[Buffer]]:
        """Yield every frame that the `count` bytes just received complete, as its list of parts."""
        if self._own is None:
            self._end += count
        else:
            self._own_end += count
            if self._own_end < len(self._own_view):
                return
        while (frame := self._next_frame()) is not None:
            yield frame

    def _next_frame(self) -> list[Buffer] | None:
        if not self._count:
            start = self._start
            if self._end - start < _HEAD.size:
                return None
            count, size = _HEAD.unpack_from(self._buffer, start)
            if not 0 < count <= MAX_PARTS:
                raise FrameError(f"a frame of {count} parts")
            if size > self._max_frame_bytes:
                raise FrameError(f"a frame of {size} bytes, more than {self._max_frame_bytes}")
            if 8 * count + size <= SMALL_FRAME_BYTES:
                return self._small_frame(start + _HEAD.size, count, size)
            self._start += _HEAD.size
            self._count, self._size = count, size
        return self._large_frame()

    def _small_frame(self, start: int, count: int, size: int) -> list[Buffer] | None:
        """Cut a frame out of the buffer, where it has room in any case. Until all of it is there, nothing is taken."""
        at = start + 8 * count
        if at + size > self._end:
            return None
        lengths = struct.unpack_from(f"<{count}Q", self._buffer, start)
        _check_size(lengths, size)
        self._start = at + size
        frame = bytes(self._view[at : at + size])
        parts: list[Buffer] = []
        at = 0
        for length in lengths:
            parts.append(frame[at : at + length])
            at += length
        return parts

    def _large_frame(self) -> list[Buffer] | None:
        """Take as much of a frame as is there, part by part."""
        if not self._lengths:
            table = self._take(8 * self._count)
            if table is None:
                return None
            self._lengths = struct.unpack(f"<{self._count}Q", table)
            _check_size(self._lengths, self._size)
        parts = self._parts
        while len(parts) < self._count:
            part = self._take(self._lengths[len(parts)])
            if part is None:
                return None
            parts.append(part)
        self._count = 0
        self._lengths = ()
        self._parts = []
        return parts

    def _take(self, length: int) -> Buffer | None:
        """Return the next `length` bytes of the stream, or None while they are not all there."""
        if self._own is not None:
            own, self._own = self._own, None
            return own
        have = self._end - self._start
        is_large = length >= BUFFER_BYTES // 4
        if length <= have:
            self._start += length
            taken = self._view[self._start - length : self._start]
            # A handler gets a large value as it is, and a small one as a copy (service.py).
            return bytearray(taken) if is_large else bytes(taken)
        if is_large:
            self._own = bytearray(length)
            self._own_view = memoryview(self._own)
            self._own_view[:have] = self._view[self._start : self._end]
            self._own_end = have
            self._start = self._end = 0
        return None


def _check_size(lengths: Sequence[int], size: int) -> None:
    if sum(lengths) != size:
        raise FrameError(f"a frame of {size} bytes whose parts have {sum(lengths)}")
