"""The messages between the front end and a worker, as plain data. Both processes import it.

Named tuples: dataclasses would have every worker import `inspect` and what that needs, 1 MiB and 8 ms.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

PREDICTION_TIME = "PredictionTime"
"""The metric of every batch: how long its handler took."""


class WorkerSpec(NamedTuple):
    """Everything a worker needs to know to load one model. Plain data, so that it can travel to any backend."""

    model_name: str
    model_dir: str
    """Absolute path of the unpacked model."""
    handler: str
    """`module`, `module.py`, `module:function` or `dir/module.py:function`."""
    runtime: str = "python"
    """`python` is the interpreter of the server; `python2` and `python3` are looked up in PATH."""
    batch_size: int = 1
    gpu_id: int | None = None
    decode_input: bool = True
    """Whether JSON and text parameters reach the handler decoded (`decode_input_request`)."""
    max_response_bytes: int = 6553500


class Pieces:
    """A large value in the pieces in which it came: they are sent on one by one, and only the worker joins them."""

    __slots__ = ("pieces", "size")

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = pieces
        self.size = sum(map(len, pieces))

    def __len__(self) -> int:
        return self.size

    def __bytes__(self) -> bytes:
        return b"".join(self.pieces)


class Parameter(NamedTuple):
    """One named input of a request: the whole body, a form field or one part of a multipart body."""

    name: str
    content_type: str
    """As the client sent it, or the empty string."""
    value: bytes
    """In a worker perhaps a bytearray, in the front end perhaps Pieces."""


class InferenceRequest(NamedTuple):
    """What one client sent, ready for a handler."""

    request_id: str
    headers: bytes
    """One `name: value` a line, Latin-1, lines joined by a single line feed, names spelled as the client did."""
    parameters: Sequence[Parameter]


class Prediction(NamedTuple):
    """What the handler made of one request."""

    body: bytes | bytearray
    status: int = 200
    reason: str = ""
    content_type: str | None = None
    """None where the handler set none; the empty string is a header without a value."""
    headers: Sequence[tuple[str, str]] = ()


class Failure(NamedTuple):
    """Why one request got no prediction; becomes the JSON error body of its answer."""

    code: int
    type: str
    """Class name on the wire, such as `InternalServerException` or `BadRequestException`."""
    message: str


class MetricRecord(NamedTuple):
    """One value that a handler (or the service itself) recorded while it worked on a batch."""

    name: str
    unit: str
    """As it is written to the log: `Milliseconds`, `Percent`, `Count`, `Megabytes`, ... or the handler's own text."""
    value: str
    dimensions: Sequence[str]
    """`Name:value` texts, such as `ModelName:resnet` and `Level:Model`."""
    request_id: str
    """One id, or the ids of the whole batch joined by commas."""
    timestamp: int
    """Seconds since the epoch."""


def prediction_time(model_name: str, request_ids: str, milliseconds: float) -> MetricRecord:
    """Return MMS's metric of one batch: how long its handler took."""
    dimensions = (f"ModelName:{model_name}", "Level:Model")
    return MetricRecord(PREDICTION_TIME, "Milliseconds", str(milliseconds), dimensions, request_ids, int(time.time()))


class PredictReply(NamedTuple):
    """A worker's answer to one batch: one result a request, in the same order."""

    results: list[Prediction | Failure]
    metrics: Sequence[MetricRecord] = ()
    prediction_ms: float | None = None
    """How long the handler took for the batch; None where it was not called or did not answer it."""


class LoadReply(NamedTuple):
    """A worker's answer to its `WorkerSpec`."""

    code: int
    """200 when the model is loaded; 507 when it ran out of memory; 500 otherwise."""
    message: str
    traceback: str = ""
    """Of the exception that ended the load, or empty."""
    in_initialize: bool = False
    """Whether it was raised by `initialize` of a handler class, which MMS only logged."""
