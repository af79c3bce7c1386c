"""Bytes to messages and back, in whatever pieces they arrive."""

import struct
from collections.abc import Iterator, Sequence

import pytest

from mms.protocol import coding, frames
from mms.protocol.frames import Buffer, FrameError, FrameReader
from mms.protocol.messages import (
    Failure,
    InferenceRequest,
    MetricRecord,
    Parameter,
    Pieces,
    Prediction,
    PredictReply,
)

MIB = 1 << 20
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


def wire(parts: Sequence[Buffer]) -> bytes:
    """Return a frame as the receiver sees it."""
    return b"".join(frames.pack(parts))


def read(reader: FrameReader, data: bytes, chunk: int = 1 << 16) -> Iterator[list[Buffer]]:
    """Feed a reader as a socket would, at most `chunk` bytes at a time."""
    view = memoryview(data)
    while view:
        buffer = reader.get_buffer()
        assert len(buffer) > 0, "a socket cannot receive into no memory"
        count = min(chunk, len(buffer), len(view))
        buffer[:count] = view[:count]
        view = view[count:]
        yield from reader.received(count)


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 7, 11, 64, 1000, 1 << 20])
def test_any_chunking_gives_the_same_frames(chunk: int) -> None:
    messages: list[list[Buffer]] = [
        [b"first"],
        coding.encode_requests(REQUESTS),
        [b"", b"", b"x"],
        coding.encode_reply(REPLY),
    ]
    got = list(read(FrameReader(), b"".join(map(wire, messages)), chunk))
    assert got == messages


@pytest.mark.parametrize("chunk", [4099, 1 << 16, 1 << 18, 1 << 23])
@pytest.mark.parametrize("size", [frames.BUFFER_BYTES // 4, frames.BUFFER_BYTES, frames.BUFFER_BYTES + 1, 3 * MIB + 7])
def test_large_parts_between_small_ones(size: int, chunk: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    messages = [[b"small"], [b"head", body[:size], b"tail", body[:size]], [b"after"]]
    got = list(read(FrameReader(), b"".join(map(wire, messages)), chunk))
    assert got == messages


def test_large_part_is_received_into_memory_of_its_own() -> None:
    reader = FrameReader()
    assert list(read(reader, frames.pack([b"x" * 4 * MIB])[0])) == []
    buffer = reader.get_buffer()
    assert len(buffer) == 4 * MIB
    buffer[:] = b"y" * 4 * MIB
    [[part]] = reader.received(4 * MIB)
    assert isinstance(part, bytearray)
    assert part == b"y" * 4 * MIB


def test_large_value_in_pieces_arrives_whole() -> None:
    pieces = [bytes([number]) * 70_000 for number in range(5)]
    request = InferenceRequest("r", b"", [Parameter("body", "", Pieces(pieces))])  # type: ignore[arg-type]
    buffers = frames.pack(coding.encode_requests([request]))
    assert all(any(buffer is piece for buffer in buffers) for piece in pieces), "a piece was copied"
    [parts] = read(FrameReader(), b"".join(buffers))
    assert coding.decode_requests(parts)[0].parameters == [Parameter("body", "", b"".join(pieces))]


def test_parts_survive_the_next_frame() -> None:
    reader = FrameReader()
    [first] = read(reader, wire([b"one", b"a" * 100_000]))
    [second] = read(reader, wire([b"two", b"b" * 100_000]))
    assert first == [b"one", b"a" * 100_000]
    assert second == [b"two", b"b" * 100_000]


def test_many_small_frames_cross_the_end_of_the_buffer() -> None:
    messages: list[list[Buffer]] = [[b"%d" % number, b"x" * (number % 977)] for number in range(3000)]
    data = b"".join(map(wire, messages))
    assert len(data) > 4 * frames.BUFFER_BYTES
    assert list(read(FrameReader(), data, 50_021)) == messages


def test_frame_may_have_as_many_parts_as_a_large_batch_needs() -> None:
    parts: list[Buffer] = [b"%d" % number for number in range(100_000)]
    assert list(read(FrameReader(), wire(parts), 9973)) == [parts]


@pytest.mark.parametrize("count", [0, frames.MAX_PARTS + 1, 0xFFFFFFFF])
def test_implausible_number_of_parts_is_refused(count: int) -> None:
    with pytest.raises(FrameError, match=f"a frame of {count} parts"):
        list(read(FrameReader(), struct.pack("<IQ", count, 0) + bytes(64)))


@pytest.mark.parametrize("text", [b"[METRICS]Size.MB:1", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 100])
def test_text_that_is_no_frame_is_refused(text: bytes) -> None:
    with pytest.raises(FrameError):
        list(read(FrameReader(), text))


@pytest.mark.parametrize("size", [101, 1 << 20, 1 << 63])
def test_frame_larger_than_agreed_is_refused_before_its_bytes_arrive(size: int) -> None:
    with pytest.raises(FrameError, match="more than 100"):
        list(read(FrameReader(max_frame_bytes=100), struct.pack("<IQ", 1, size)))


@pytest.mark.parametrize("lengths", [(99,), (101,), (50, 51), (1 << 63, 1 << 63)])
@pytest.mark.parametrize("size", [100, frames.SMALL_FRAME_BYTES])
def test_frame_whose_parts_are_not_its_size_is_refused(size: int, lengths: tuple[int, ...]) -> None:
    head = struct.pack(f"<IQ{len(lengths)}Q", len(lengths), size, *lengths)
    with pytest.raises(FrameError, match=f"a frame of {size} bytes whose parts have {sum(lengths)}"):
        list(read(FrameReader(), head + bytes(size)))


def test_frame_of_exactly_the_agreed_size_is_read() -> None:
    assert list(read(FrameReader(max_frame_bytes=100), wire([b"a" * 40, b"b" * 60]))) == [[b"a" * 40, b"b" * 60]]
