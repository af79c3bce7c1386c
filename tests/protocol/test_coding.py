"""Messages to the parts of frames and back."""

import json
import math
import struct

import pytest

from mms.protocol import coding
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

PREDICTION = Prediction(b"\x00\xff" * 9, 201, "As asked", "", [("x-a", "1"), ("X-B", "zwölf")])
REPLY = PredictReply(
    [PREDICTION, Failure(507, "InternalServerException", "Out of resources"), Prediction(b"")],
    (MetricRecord("Loads", "Count", "1", ["ModelName:m", "Level:Model"], "r1,r2", 1795364378),),
)
REQUESTS = [
    InferenceRequest(
        "r1", b"Host: here\nX: \xe9", [Parameter("body", "image/jpeg", b"\x00\x01"), Parameter("ä", "", b"")]
    ),
    InferenceRequest("r2", b"", []),
    InferenceRequest("r3", b"", [Parameter("\udcff", "a/\udcfe", b"x"), Parameter("", "", b"")]),
]


def test_requests_round_trip() -> None:
    assert coding.decode_requests(coding.encode_requests(REQUESTS)) == REQUESTS


@pytest.mark.parametrize(
    "reply",
    [
        REPLY,
        PredictReply([Prediction(b"x"), Prediction(b"", 404)], (), 0.25),
        PredictReply([PREDICTION, Prediction(b"plain"), PREDICTION], (), 0.0),
        PredictReply([Failure(400, "BadRequestException", "no"), Prediction(b"y")], (), 1e9),
        PredictReply([], (), None),
    ],
)
def test_reply_round_trip(reply: PredictReply) -> None:
    assert coding.decode_reply(coding.encode_reply(reply)) == reply


def test_plain_predictions_need_no_json() -> None:
    _, more, *bodies = coding.encode_reply(PredictReply([Prediction(b"x"), Prediction(b"y", 201)], (), 0.5))
    assert more == b""
    assert bodies == [b"x", b"y"]


@pytest.mark.parametrize("content_type", [None, "", "text/plain"])
def test_content_type_of_a_prediction_keeps_none_apart_from_empty(content_type: str | None) -> None:
    reply = coding.decode_reply(
        coding.encode_reply(PredictReply([Prediction(b"x", 200, "", content_type, [])])),
    )
    [result] = reply.results
    assert isinstance(result, Prediction)
    assert result.content_type == content_type


def test_spec_round_trip() -> None:
    spec = WorkerSpec(
        model_name="ä b",
        model_dir="/models/m",
        handler="service.py:handle",
        runtime="python3",
        batch_size=8,
        gpu_id=3,
        decode_input=False,
        max_response_bytes=12,
    )
    assert coding.decode_spec(coding.encode_spec(spec)) == spec


def test_load_reply_round_trip() -> None:
    reply = LoadReply(507, "System out of memory", "Traceback ...\n")
    assert coding.decode_load_reply(coding.encode_load_reply(reply)) == reply


def table(*statuses: int, milliseconds: float = math.nan) -> bytes:
    """Return the first part of a reply."""
    return struct.pack(f"<d{len(statuses)}H", milliseconds, *statuses)


@pytest.mark.parametrize(
    "document",
    [
        None,
        1,
        "ab",
        "abc",
        {},
        {"abc": 1, "def": 2},
        [],
        [[], []],
        [[], (), []],
        [1, []],
        [[1], []],
        [["abc"], []],
        [[[]], []],
        [[[200, "", None, []]], []],
        [[[200, "", None, [], 5]], []],
        [[["200", "InternalServerException", "m"]], []],
        [[[500, None, "m"]], []],
        [[[500, "T", {}]], []],
        [[[500, "T", "m"], [500, "T", "m"]], []],
        [[[500, "T", "m"]], [["name"]]],
        [[[500, "T", "m"]], [[1, 2, 3, 4, 5, 6, 7]]],
        [[[500, "T", "m"]], [5]],
    ],
)
def test_reply_that_no_worker_of_ours_wrote_is_refused(document: object) -> None:
    with pytest.raises(FrameError):
        coding.decode_reply([table(0), json.dumps(document).encode()])


@pytest.mark.parametrize(
    "result",
    [
        ["200", "", None, []],
        [None, "", None, []],
        [True, "", None, []],
        [-1, "", None, []],
        [199, "", None, []],
        [1000, "", None, []],
        [1e400, "", None, []],
        [200, None, None, []],
        [200, "", 7, []],
        [200, "", None, "ab"],
        [200, "", None, ["abc"]],
        [200, "", None, [["a"]]],
        [200, "", None, [["a", 1]]],
        [200, "", None, [["a", "b", "c"]]],
        [200, "", None, {"a": "b"}],
    ],
)
def test_prediction_that_could_not_be_answered_is_refused(result: object) -> None:
    with pytest.raises(FrameError):
        coding.decode_reply([table(0), json.dumps([[result], []]).encode(), b"body"])


@pytest.mark.parametrize("status", [1, 199, 1000, 65535])
def test_plain_prediction_with_an_impossible_status_is_refused(status: int) -> None:
    with pytest.raises(FrameError):
        coding.decode_reply([table(status), b"", b"body"])


@pytest.mark.parametrize("bodies", [[], [b"one"], [b"one", b"two", b"three"]])
def test_reply_needs_as_many_bodies_as_predictions(bodies: list[Buffer]) -> None:
    with pytest.raises(FrameError):
        coding.decode_reply([table(200, 200), b"", *bodies])


@pytest.mark.parametrize("milliseconds", [math.inf, -math.inf, math.nan])
def test_a_time_that_is_no_number_is_none(milliseconds: float) -> None:
    assert coding.decode_reply([table(200, milliseconds=milliseconds), b"", b"x"]).prediction_ms is None


@pytest.mark.parametrize(
    "parts",
    [
        [b""],
        [b"", b""],
        [bytes(9), b""],
        [table(0), b""],
        *([table(0), bad] for bad in (b"\xff\xfe", b"{", b"[" * 100_000)),
    ],
)
def test_reply_with_an_unreadable_head_is_refused(parts: list[Buffer]) -> None:
    with pytest.raises(FrameError, match="unreadable reply"):
        coding.decode_reply(parts)


@pytest.mark.parametrize("header", [b"", b"{", b"5", b"[]", b'["200", "loaded", ""]', b'[200, 1, ""]', b"[" * 100_000])
def test_load_reply_that_is_none_is_refused(header: bytes) -> None:
    with pytest.raises(FrameError, match="unreadable load reply"):
        coding.decode_load_reply([header])
