"""Messages to bytes and back, without input or output of its own. Both processes import it.

A frame is a list of parts: `u32 count | u64 bytes of all parts | count x u64 length | part 0 | part 1 ...`,
little-endian. Texts and bodies are parts of their own, so an ordinary request needs no other coding, and a large body
is never copied into the frame: the sender writes it from where it lies, and the receiver reads it into memory of its
own.
"""

import json
import math
import struct
from collections.abc import Iterator, Sequence
from typing import Any

from mms.protocol.messages import (
    Failure,
    InferenceRequest,
    LoadReply,
    MetricRecord,
    Parameter,
    Pieces,
    Prediction,
    PredictReply,
    WorkerSpec,
)

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
_dumps = json.JSONEncoder(separators=(",", ":")).encode


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


def encode_requests(requests: Sequence[InferenceRequest]) -> list[Buffer]:
    """Return the parts of a frame for one batch.

    First how many parameters each request has (u32), then for each its id, its headers, and the name, the content
    type and the value of every parameter.
    """
    parts: list[Buffer] = [b""]
    counts = []
    for request in requests:
        parts += (request.request_id.encode(), request.headers)
        counts.append(len(request.parameters))
        for parameter in request.parameters:
            parts += (_text_bytes(parameter.name), _text_bytes(parameter.content_type), parameter.value)
    parts[0] = struct.pack(f"<{len(counts)}I", *counts)
    return parts


def decode_requests(parts: Sequence[Buffer]) -> list[InferenceRequest]:
    """Undo `encode_requests`. A large value stays the `bytearray` that it was received into."""
    counts = struct.unpack(f"<{len(parts[0]) // 4}I", parts[0])
    requests = []
    at = 1
    for count in counts:
        request_id, headers = parts[at].decode(), bytes(parts[at + 1])
        end = at + 2 + 3 * count
        parameters = [
            Parameter(_bytes_text(parts[name]), _bytes_text(parts[name + 1]), parts[name + 2])  # type: ignore[arg-type]
            for name in range(at + 2, end, 3)
        ]
        requests.append(InferenceRequest(request_id, headers, parameters))
        at = end
    return requests


def _text_bytes(text: str) -> bytes:
    # Headers and form fields may hold what is no UTF-8, which Python keeps as lone surrogates.
    return text.encode("utf-8", "surrogatepass")


def _bytes_text(data: Buffer) -> str:
    return data.decode("utf-8", "surrogatepass")


def encode_reply(reply: PredictReply) -> list[Buffer]:
    """Return the parts of a frame for the answer to one batch.

    First the milliseconds that the handler took (double, NaN for none) and the status of each result (u16), then JSON
    or nothing, then the body of each prediction. A status of 0 stands for a result that the JSON describes: a failure,
    or a prediction that has more than a status and a body. Metrics are in the JSON too.
    """
    statuses: list[int] = []
    special: list[list[Any]] = []
    bodies: list[Buffer] = []
    for result in reply.results:
        status = 0
        if isinstance(result, Failure):
            special.append([result.code, result.type, result.message])
        else:
            bodies.append(result.body)
            if result.headers or result.reason or result.content_type is not None:
                special.append([result.status, result.reason, result.content_type, list(result.headers)])
            else:
                status = result.status
        statuses.append(status)
    more = _dumps([special, reply.metrics]).encode() if special or reply.metrics else b""
    milliseconds = math.nan if reply.prediction_ms is None else reply.prediction_ms
    return [struct.pack(f"<d{len(statuses)}H", milliseconds, *statuses), more, *bodies]


def decode_reply(parts: Sequence[Buffer]) -> PredictReply:
    """Undo `encode_reply`. Raise FrameError for anything that `encode_reply` cannot have written.

    The worker runs user code and is trusted less than the front end: nothing in its bytes is believed unseen.
    """
    try:
        table, more, *bodies = parts
        milliseconds, *statuses = struct.unpack(f"<d{len(table) // 2 - 4}H", table)
        special, metrics = json.loads(more) if more else ((), ())
        unused = iter(bodies)
        described = iter(special)
        results = [
            Prediction(next(unused), _check_status(status)) if status else _decode_result(next(described), unused)
            for status in statuses
        ]
        if next(unused, None) is not None or next(described, None) is not None:
            raise ValueError("more than the results that it announces")
        return PredictReply(
            results,
            tuple([_decode_metric(metric) for metric in metrics]),
            milliseconds if math.isfinite(milliseconds) else None,
        )
    except (ValueError, TypeError, StopIteration, RecursionError, struct.error) as exc:
        raise FrameError(f"unreadable reply: {exc}") from exc


def _decode_result(result: list[Any], bodies: Iterator[Buffer]) -> Prediction | Failure:
    if len(result) == 3:
        code, kind, message = result
        _check_status(code)
        _check_texts(kind, message)
        return Failure(code, kind, message)
    status, reason, content_type, headers = result
    _check_status(status)
    _check_texts(reason, content_type or "")
    headers = [(name, value) for name, value in headers]
    for header in headers:
        _check_texts(*header)
    return Prediction(next(bodies), status, reason, content_type, headers)


def _decode_metric(metric: list[Any]) -> MetricRecord:
    record = MetricRecord(*metric)
    _check_texts(record.name, record.unit, record.value, record.request_id, *record.dimensions)
    if type(record.timestamp) is not int:
        raise ValueError(f"{record.timestamp!r} is no time")
    return record


def _check_status(code: object) -> int:
    if type(code) is not int or not 200 <= code <= 999:
        raise ValueError(f"{code!r} is no status")
    return code


def _check_texts(*texts: object) -> None:
    for text in texts:
        if type(text) is not str:
            raise ValueError(f"{text!r} is no text")


def encode_spec(spec: WorkerSpec) -> list[Buffer]:
    """Return the parts of the first frame that a worker gets."""
    return [_dumps(spec._asdict()).encode()]


def decode_spec(parts: Sequence[Buffer]) -> WorkerSpec:
    """Undo `encode_spec`."""
    return WorkerSpec(**json.loads(parts[0]))


def encode_load_reply(reply: LoadReply) -> list[Buffer]:
    """Return the parts of the first frame that a worker sends."""
    return [_dumps([reply.code, reply.message, reply.traceback, reply.in_initialize]).encode()]


def decode_load_reply(parts: Sequence[Buffer]) -> LoadReply:
    """Undo `encode_load_reply`; FrameError if it is something else."""
    try:
        reply = LoadReply(*json.loads(parts[0]))
        _check_status(reply.code)
        _check_texts(reply.message, reply.traceback)
        return reply
    except (ValueError, TypeError, RecursionError) as exc:
        raise FrameError(f"unreadable load reply: {exc}") from exc
