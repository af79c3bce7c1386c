"""Messages to bytes and back, without input or output of its own. Both processes import it.

A frame is a list of parts: `u32 count | count x u64 length | part 0 | part 1 ...`, little-endian. Part 0 is a JSON
header that says what the other parts are, so a large body is never copied into the frame: the sender writes it from
where it lies, and the receiver reads it into a buffer of its own.
"""

import json
import struct
from collections.abc import Iterator, Sequence
from typing import Any

from mms.protocol.messages import (
    Failure,
    InferenceRequest,
    LoadReply,
    MetricRecord,
    Parameter,
    Prediction,
    PredictReply,
    WorkerSpec,
)

Buffer = bytes | bytearray

BUFFER_BYTES = 1 << 18
"""Size of a reader's own buffer; a part that does not fit is received into memory of its own."""
MAX_PARTS = 1 << 16
MAX_PART_BYTES = 1 << 40

_COUNT = struct.Struct("<I")
_dumps = json.JSONEncoder(separators=(",", ":")).encode


class FrameError(Exception):
    """The bytes are no frame of this protocol: the other side must not be trusted any further."""


def encode(parts: Sequence[Buffer]) -> bytes:
    """Return the head of a frame; send it, then the parts themselves."""
    return struct.pack(f"<I{len(parts)}Q", len(parts), *map(len, parts))


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
        self._lengths: tuple[int, ...] | None = None
        self._parts: list[Buffer] = []
        self._large: memoryview | None = None
        self._large_end = 0

    def get_buffer(self, _sizehint: int = -1) -> memoryview:
        """Return the memory to receive into; never empty."""
        if self._large is not None:
            return self._large[self._large_end :]
        if self._start == self._end:
            self._start = self._end = 0
        elif self._end == BUFFER_BYTES:
            kept = self._end - self._start
            self._view[:kept] = self._view[self._start : self._end]
            self._start, self._end = 0, kept
        return self._view[self._end :]

    def received(self, count: int) -> Iterator[list[Buffer]]:
        """Yield every frame that the `count` bytes just received complete, as its list of parts."""
        if self._large is None:
            self._end += count
        else:
            self._large_end += count
            if self._large_end < len(self._large):
                return
            self._large = None
        while (frame := self._next_frame()) is not None:
            yield frame

    def _next_frame(self) -> list[Buffer] | None:
        if self._lengths is None and not self._read_lengths():
            return None
        assert self._lengths is not None
        parts = self._parts
        while len(parts) < len(self._lengths):
            length = self._lengths[len(parts)]
            have = self._end - self._start
            if length <= have:
                parts.append(bytes(self._view[self._start : self._start + length]))
                self._start += length
            elif length < BUFFER_BYTES // 4:
                return None
            else:
                self._receive_into_own_memory(length, have)
                return None
        self._lengths = None
        self._parts = []
        return parts

    def _read_lengths(self) -> bool:
        have = self._end - self._start
        if have < _COUNT.size:
            return False
        (count,) = _COUNT.unpack_from(self._buffer, self._start)
        if not 0 < count <= MAX_PARTS // 4:
            raise FrameError(f"a frame of {count} parts")
        size = _COUNT.size + 8 * count
        if size > BUFFER_BYTES:
            raise FrameError(f"a frame of {count} parts")
        if have < size:
            return False
        self._lengths = struct.unpack_from(f"<{count}Q", self._buffer, self._start + _COUNT.size)
        if sum(self._lengths) > self._max_frame_bytes:
            raise FrameError(f"a frame of {sum(self._lengths)} bytes, more than {self._max_frame_bytes}")
        self._start += size
        return True

    def _receive_into_own_memory(self, length: int, have: int) -> None:
        memory = bytearray(length)
        self._large = memoryview(memory)
        self._large[:have] = self._view[self._start : self._end]
        self._large_end = have
        self._start = self._end = 0
        self._parts.append(memory)


def encode_requests(requests: Sequence[InferenceRequest]) -> list[Buffer]:
    """Return the parts of a frame for one batch."""
    parts: list[Buffer] = [b""]
    header = []
    for request in requests:
        parts.append(request.headers)
        for parameter in request.parameters:
            parts.append(parameter.value)
        header.append([request.request_id, [[p.name, p.content_type] for p in request.parameters]])
    parts[0] = _dumps(header).encode()
    return parts


def decode_requests(parts: Sequence[Buffer]) -> list[InferenceRequest]:
    """Undo `encode_requests`. A large value stays the `bytearray` that it was received into."""
    header = json.loads(parts[0])
    blobs = iter(parts)
    next(blobs)
    return [
        InferenceRequest(
            request_id,
            bytes(next(blobs)),
            [Parameter(name, content_type, next(blobs)) for name, content_type in names],  # type: ignore[arg-type]
        )
        for request_id, names in header
    ]


def encode_reply(reply: PredictReply) -> list[Buffer]:
    """Return the parts of a frame for the answer to one batch."""
    parts: list[Buffer] = [b""]
    results: list[list[Any]] = []
    for result in reply.results:
        if isinstance(result, Prediction):
            results.append([result.status, result.reason, result.content_type, list(result.headers)])
            parts.append(result.body)
        else:
            results.append([result.code, result.type, result.message])
    parts[0] = _dumps([results, reply.metrics]).encode()
    return parts


def decode_reply(parts: Sequence[Buffer]) -> PredictReply:
    """Undo `encode_reply`. Raise FrameError for anything that `encode_reply` cannot have written.

    The worker runs user code and is trusted less than the front end: nothing in its bytes is believed unseen.
    """
    try:
        results, metrics = json.loads(parts[0])
        bodies = iter(parts)
        next(bodies)
        return PredictReply(
            [_decode_result(result, bodies) for result in results],
            [_decode_metric(metric) for metric in metrics],
        )
    except (ValueError, TypeError, StopIteration, RecursionError) as exc:
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
    return Prediction(next(bodies), status, reason, content_type, headers)  # type: ignore[arg-type]


def _decode_metric(metric: list[Any]) -> MetricRecord:
    record = MetricRecord(*metric)
    _check_texts(record.name, record.unit, record.value, record.request_id, *record.dimensions)
    if type(record.timestamp) is not int:
        raise ValueError(f"{record.timestamp!r} is no time")
    return record


def _check_status(code: object) -> None:
    if type(code) is not int or not 200 <= code <= 999:
        raise ValueError(f"{code!r} is no status")


def _check_texts(*texts: object) -> None:
    for text in texts:
        if type(text) is not str:
            raise ValueError(f"{text!r} is no text")


def encode_spec(spec: WorkerSpec) -> list[Buffer]:
    """Return the parts of the first frame that a worker gets."""
    return [_dumps({name: getattr(spec, name) for name in spec.__slots__}).encode()]


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
