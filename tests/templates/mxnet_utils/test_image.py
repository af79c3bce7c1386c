import base64
import importlib.util
import io
import random
import struct
import zlib
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
import pytest
from mxnet_utils import image
from PIL import Image


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, color: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def encode(picture: Image.Image, format_: str, **options: Any) -> bytes:
    output = io.BytesIO()
    picture.save(output, format_, **options)
    return output.getvalue()


@pytest.fixture(params=["with simplejpeg", "with Pillow alone"], autouse=True)
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is true with the optional package must be true without it."""
    if request.param == "with Pillow alone":
        monkeypatch.setattr(image, "simplejpeg", None)
    elif image.simplejpeg is None:
        pytest.skip("simplejpeg is not installed (pip install '.[fast]')")


@pytest.fixture
def photo(cat_photo: bytes) -> Image.Image:
    return Image.open(io.BytesIO(cat_photo)).convert("RGB").resize((61, 45))


def turned(photo: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn it by 90 degrees to show it
    return encode(photo, "JPEG", exif=exif)


def translucent(photo: Image.Image, mode: str) -> bytes:
    picture = photo.convert(mode)
    picture.putalpha(Image.linear_gradient("L").resize(photo.size))
    return encode(picture, "PNG")


ENCODERS: dict[str, Callable[[Image.Image], bytes]] = {
    "jpeg": lambda photo: encode(photo, "JPEG"),
    "jpeg, progressive": lambda photo: encode(photo, "JPEG", progressive=True),
    "jpeg, no subsampling": lambda photo: encode(photo, "JPEG", subsampling=0),
    "jpeg, wide subsampling": lambda photo: encode(photo, "JPEG", subsampling=1),
    "jpeg, with restarts": lambda photo: encode(photo, "JPEG", restart_marker_rows=1),
    "jpeg, coarse": lambda photo: encode(photo, "JPEG", quality=5),
    "jpeg, and more behind it": lambda photo: encode(photo, "JPEG") + b"more",
    "jpeg, red, green and blue": lambda photo: encode(photo, "JPEG", keep_rgb=True),
    "jpeg, one pixel": lambda photo: encode(photo.crop((0, 0, 1, 1)), "JPEG"),
    "jpeg, grey": lambda photo: encode(photo.convert("L"), "JPEG"),
    "jpeg, to be turned": turned,
    "png": lambda photo: encode(photo, "PNG"),
    "png, grey": lambda photo: encode(photo.convert("L"), "PNG"),
    "png, black and white": lambda photo: encode(photo.convert("1"), "PNG"),
    "png, palette": lambda photo: encode(photo.quantize(), "PNG"),
    "png, palette with a transparent colour": lambda photo: encode(photo.quantize(), "PNG", transparency=3),
    "png, palette with alpha": lambda photo: encode(photo.quantize(), "PNG", transparency=bytes(range(0, 250, 2))),
    "png, alpha": lambda photo: translucent(photo, "RGB"),
    "png, grey with alpha": lambda photo: translucent(photo, "L"),
    "png, 16 bits grey": lambda photo: png(3, 2, 16, 0, b"".join(b"\0" + bytes(range(n, n + 6)) for n in (0, 200))),
    "png, 16 bits": lambda photo: png(1, 2, 16, 2, b"".join(b"\0" + bytes(range(n, n + 6)) for n in (0, 200))),
    "bmp": lambda photo: encode(photo, "BMP"),
    "tiff": lambda photo: encode(photo, "TIFF"),
}


@pytest.mark.parametrize("kind", ENCODERS)
def test_the_pixels_are_those_of_mxnets_own_decoder(photo: Image.Image, kind: str) -> None:
    content = ENCODERS[kind](photo)

    np.testing.assert_array_equal(image.read(content).asnumpy(), mx.image.imdecode(content).asnumpy())
    np.testing.assert_array_equal(
        image.read(content, to_rgb=False).asnumpy(), mx.image.imdecode(content, to_rgb=False).asnumpy()
    )


def test_cmyk_is_within_one_level_of_mxnets_decoder(photo: Image.Image) -> None:
    content = encode(photo.convert("CMYK"), "JPEG")

    difference = image.read(content).asnumpy().astype(int) - mx.image.imdecode(content).asnumpy()

    assert abs(difference).max() <= 1


def test_the_pixels_of_real_photos_are_those_of_mxnets_decoder() -> None:
    photos = [
        *(Path(__file__).parents[3] / "docs" / "images").glob("*.jpg"),
        *(Path(__file__).parents[4] / "shared" / "data").glob("*.jpg"),
    ]
    if importlib.util.find_spec("sklearn"):
        photos += (files("sklearn.datasets") / "images" / name for name in ("china.jpg", "flower.jpg"))

    for path in photos:
        content = path.read_bytes()
        np.testing.assert_array_equal(image.read(content).asnumpy(), mx.image.imdecode(content).asnumpy(), str(path))


def outcome(content: bytes) -> bytes | str:
    try:
        return bytes(image.read(content).asnumpy().tobytes())
    except image.ImageError as exc:
        return str(exc)


def test_a_damaged_jpeg_is_to_simplejpeg_what_it_is_to_pillow(
    photo: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(5)
    damaged = []
    for whole in (encode(photo, "JPEG"), encode(photo, "JPEG", progressive=True)):
        damaged += [whole[: dice.randrange(len(whole))] for _ in range(50)]
        for _ in range(200):
            content = bytearray(whole)
            for _ in range(dice.randint(1, 3)):
                content[dice.randrange(len(content))] = dice.randrange(256)
            damaged.append(bytes(content))

    found = [outcome(content) for content in damaged]

    monkeypatch.setattr(image, "simplejpeg", None)
    expected = [outcome(content) for content in damaged]
    assert [number for number, pair in enumerate(zip(found, expected, strict=True)) if pair[0] != pair[1]] == []
    assert len({text for text in expected if isinstance(text, str)}) >= 1


@pytest.mark.parametrize("format_", ["WEBP", "GIF"])
def test_formats_that_mxnet_cannot_decode_work_too(photo: Image.Image, format_: str) -> None:
    assert image.read(encode(photo, format_)).shape == (45, 61, 3)


def test_grey_on_request(photo: Image.Image) -> None:
    content = encode(photo, "JPEG")

    grey = image.read(content, flag=0).asnumpy()

    np.testing.assert_array_equal(grey, mx.image.imdecode(content, flag=0).asnumpy())


def test_the_picture_can_be_read_into_an_array_that_exists(photo: Image.Image) -> None:
    content = encode(photo, "PNG")
    out = mx.nd.zeros((45, 61, 3), dtype="uint8")

    assert image.read(content, out=out) is out
    np.testing.assert_array_equal(out.asnumpy(), np.asarray(photo))


@pytest.mark.parametrize("content", [b"", bytearray(), None])
def test_nothing_is_an_empty_image(content: Any) -> None:
    with pytest.raises(image.ImageError, match="^Empty image input$"):
        image.read(content)


def test_what_is_no_image_is_corrupted(photo: Image.Image) -> None:
    whole = encode(photo, "PNG")
    for content in (
        b"no image",
        b"\xff\xd8\xff",
        encode(photo, "JPEG")[:-400],
        whole[:-40],
        b"%!PS-Adobe",
        "text",
        [1],
    ):
        with pytest.raises(image.ImageError, match="^Corrupted image input$"):
            image.read(content)  # type: ignore[arg-type]  # clients send anything


def test_a_huge_jpeg_is_refused_from_its_header(photo: Image.Image) -> None:
    content = bytearray(encode(photo, "JPEG"))
    size = content.index(struct.pack(">HH", *reversed(photo.size)))
    content[size : size + 4] = struct.pack(">HH", 8000, 7000)

    with pytest.raises(image.ImageError, match="^Image input has 7000 x 8000 pixels, more than 50000000$"):
        image.read(content)


@pytest.mark.parametrize("side", [7072, 10_000, 20_000, 2_000_000])
def test_a_huge_image_is_refused_from_its_header(side: int) -> None:
    with pytest.raises(image.ImageError, match="more than 50000000"):
        image.read(png(side, side, 8, 2, b"\0"))


def test_writing_gives_base64_of_an_image(photo: Image.Image) -> None:
    pixels = mx.nd.array(np.asarray(photo), dtype="uint8")

    for text in (
        image.write(pixels, format="png", dim_order="HWC"),
        image.write(pixels.transpose((2, 0, 1)), format="png"),
    ):
        np.testing.assert_array_equal(image.read(base64.b64decode(text)).asnumpy(), np.asarray(photo))
    grey = image.write(pixels.transpose((2, 0, 1))[:1], flag=0, format="png")
    np.testing.assert_array_equal(image.read(base64.b64decode(grey)).asnumpy()[..., 0], np.asarray(photo)[..., 0])
    with pytest.raises(ValueError, match="dim_order"):
        image.write(pixels, dim_order="WHC")


def test_resizing_by_area_is_number_3_and_bicubic_number_2() -> None:
    checks = mx.nd.array(np.random.default_rng(0).integers(0, 256, (4, 4, 3)), dtype="uint8")
    means = checks.asnumpy().reshape(2, 2, 2, 2, 3).mean(axis=(1, 3))

    assert abs(image.resize(checks, 2, 2, interp=3).asnumpy() - means).max() <= 0.5
    assert abs(image.resize(checks, 2, 2).asnumpy() - means).max() > 1


def test_cropping_normalizing_and_shaping() -> None:
    pixels = mx.nd.array(np.arange(48).reshape(4, 4, 3), dtype="uint8")

    np.testing.assert_array_equal(image.fixed_crop(pixels, 1, 2, 2, 1).asnumpy(), pixels.asnumpy()[2:3, 1:3])
    assert image.fixed_crop(pixels, 0, 0, 4, 4, size=(2, 3)).shape == (3, 2, 3)
    normal = image.color_normalize(pixels, mx.nd.array([1, 2, 3]), mx.nd.array([2, 2, 2])).asnumpy()
    np.testing.assert_allclose(normal, (pixels.asnumpy() - np.array([1.0, 2, 3])) / 2)
    assert image.transform_shape(pixels).shape == (1, 3, 4, 4)
    assert image.transform_shape(pixels, "NHWC").shape == (1, 4, 4, 3)
    with pytest.raises(ValueError, match="dim_order"):
        image.transform_shape(pixels, "HW")
