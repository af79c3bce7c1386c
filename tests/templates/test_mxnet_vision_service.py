import io
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from mxnet_vision_service import MXNetVisionService
from PIL import Image

from mms.context import Context

from .conftest import Answer, ask, make_context


@pytest.fixture(scope="module")
def context(squeezenet: Path) -> Context:
    return make_context(squeezenet, name="squeezenet_v1.1", batch_size=4)


@pytest.fixture(scope="module")
def service(context: Context) -> MXNetVisionService:
    service = MXNetVisionService()
    service.initialize(context)
    return service


def classes(answer: Answer) -> dict[str, float]:
    assert answer.status == 200, answer
    probabilities = [entry["probability"] for entry in answer.body]
    assert probabilities == sorted(probabilities, reverse=True)
    return {entry["class"].partition(" ")[2].partition(",")[0]: entry["probability"] for entry in answer.body}


def huge_png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 999)) + chunk(b"IEND", b"")
    )


def test_kitten_gives_the_numbers_of_the_mms_documentation(
    service: MXNetVisionService, context: Context, shared_data: Path
) -> None:
    [answer] = ask(service.handle, context, {"body": (shared_data / "kitten.jpg").read_bytes()})

    expected = {"Egyptian cat": 0.8582, "tabby": 0.0916, "tiger cat": 0.0375, "leopard": 0.0062, "lynx": 0.0032}
    assert list(classes(answer)) == list(expected)
    assert classes(answer) == pytest.approx(expected, abs=1e-4)


def test_small_kitten_gives_the_order_of_the_mms_documentation(
    service: MXNetVisionService, context: Context, shared_data: Path
) -> None:
    [answer] = ask(service.handle, context, {"body": (shared_data / "kitten_small.jpg").read_bytes()})

    assert list(classes(answer)) == ["lynx", "Egyptian cat", "tabby", "Persian cat", "tiger cat"]
    assert list(classes(answer).values())[:2] == pytest.approx([0.583, 0.401], abs=0.02)


def test_our_cat_photo_is_an_egyptian_cat(service: MXNetVisionService, context: Context, cat_photo: bytes) -> None:
    [answer] = ask(service.handle, context, {"body": cat_photo})

    assert list(classes(answer))[:2] == ["Egyptian cat", "tabby"]
    assert list(classes(answer).values())[:2] == pytest.approx([0.85, 0.12], abs=0.02)


def test_bad_images_are_a_400_for_themselves_alone(
    service: MXNetVisionService, context: Context, cat_photo: bytes
) -> None:
    alone = ask(service.handle, context, {"body": cat_photo})[0]

    answers = ask(
        service.handle,
        context,
        {"body": bytearray()},
        {"body": bytearray(cat_photo)},
        {"body": cat_photo[:5000]},
        {"body": b"no image"},
        {"data": cat_photo},
        {},
        {"body": {"image": 1}},
        {"body": "text"},
        {"body": huge_png(20000, 20000)},
    )

    empty = Answer(400, "text/plain", "Empty image input")
    corrupted = Answer(400, "text/plain", "Corrupted image input")
    huge = Answer(400, "text/plain", "Image input has more than 50000000 pixels")
    assert answers == [empty, alone, corrupted, corrupted, alone, empty, empty, corrupted, huge]


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_every_batch_size_gives_the_same_answers(
    service: MXNetVisionService, context: Context, cat_photo: bytes, size: int
) -> None:
    picture = Image.open(io.BytesIO(cat_photo))
    requests = []
    for turn in range(size):
        turned = io.BytesIO()
        picture.rotate(60 * turn).save(turned, "PNG")
        requests.append({"body": turned.getvalue()})
    singly = [ask(service.handle, context, request)[0] for request in requests]

    together = ask(service.handle, context, *requests)

    for one, many in zip(singly, together, strict=True):
        assert classes(many) == pytest.approx(classes(one), abs=1e-5)


@pytest.mark.parametrize(
    "build",
    [
        lambda photo: {"data": photo, "body": b"ignored"},
        lambda photo: {"body": photo, "other": b"ignored"},
        lambda photo: {"data": bytearray(photo)},
    ],
)
def test_the_image_is_looked_up_by_input_name_then_body_then_data(
    service: MXNetVisionService, context: Context, cat_photo: bytes, build: Any
) -> None:
    assert ask(service.handle, context, build(cat_photo)) == ask(service.handle, context, {"body": cat_photo})


def test_classes_without_synset_txt_are_numbers(
    service: MXNetVisionService, context: Context, cat_photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "labels", None)

    [answer] = ask(service.handle, context, {"body": cat_photo})

    assert [entry["class"] for entry in answer.body[:2]] == ["285", "281"]


def test_the_module_is_a_handler(squeezenet: Path, cat_photo: bytes) -> None:
    import mxnet_vision_service

    context = make_context(squeezenet, name="squeezenet_v1.1")
    assert mxnet_vision_service.handle(None, context) is None

    [answer] = ask(mxnet_vision_service.handle, context, {"body": cat_photo})  # type: ignore[arg-type]

    assert next(iter(classes(answer))) == "Egyptian cat"
