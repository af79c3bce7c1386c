"""Messages as the parts of frames, and back. Both processes import it."""

import json
import math
import struct
from collections.abc import Iterator, Sequence
from typing import Any

from mms.protocol.frames import Buffer, FrameError
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

_dumps = json.JSONEncoder(separators=(",", ":")).encode


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
