import base64
from io import BytesIO
from typing import Any

import pytest

from .test_mxnet_vision_service import RED_PNG

np = pytest.importorskip("numpy")


@pytest.fixture
def image(mx: Any) -> Any:
    from mms.utils.mxnet import image

    return image


def test_an_image_is_read_as_rgb_or_bgr_or_grey(image: Any) -> None:
    assert image.read(RED_PNG).asnumpy()[0, 0].tolist() == [255, 0, 0]
    assert image.read(bytearray(RED_PNG), to_rgb=False).asnumpy()[0, 0].tolist() == [0, 0, 255]
    assert image.read(RED_PNG, flag=0).shape == (8, 8, 1)


def test_width_comes_before_height(image: Any) -> None:
    assert image.resize(image.read(RED_PNG), 4, 2).shape == (2, 4, 3)


def test_a_rectangle_is_cut_out_and_resized(image: Any) -> None:
    pixels = image.read(RED_PNG)
    assert image.fixed_crop(pixels, 1, 2, 5, 3).shape == (3, 5, 3)
    assert image.fixed_crop(pixels, 1, 2, 5, 3, size=(7, 6)).shape == (6, 7, 3)


@pytest.mark.parametrize(("order", "shape"), [("NCHW", (1, 3, 8, 8)), ("NHWC", (1, 8, 8, 3))])
def test_an_image_becomes_a_batch_of_one(image: Any, order: str, shape: tuple[int, ...]) -> None:
    assert image.transform_shape(image.read(RED_PNG), order).shape == shape


@pytest.mark.parametrize("order", ["CHW", "HW", ""])
def test_another_order_is_refused(image: Any, order: str) -> None:
    with pytest.raises(AssertionError, match="'NCHW' or 'NHWC'"):
        image.transform_shape(image.read(RED_PNG), order)


def test_colours_are_normalised_as_float(mx: Any, image: Any) -> None:
    normal = image.color_normalize(image.read(RED_PNG), mx.nd.array([5, 0, 0]), mx.nd.array([250, 1, 1]))
    assert normal.dtype == np.float32
    assert normal.asnumpy()[0, 0].tolist() == [1, 0, 0]


@pytest.mark.parametrize(("order", "axes"), [("HWC", (0, 1, 2)), ("CHW", (2, 0, 1))])
def test_an_image_is_written_as_base64(mx: Any, image: Any, order: str, axes: tuple[int, ...]) -> None:
    pil_image = pytest.importorskip("PIL.Image")
    pixels = mx.nd.transpose(image.read(RED_PNG).astype("float32"), axes)
    written = pil_image.open(BytesIO(base64.b64decode(image.write(pixels, format="png", dim_order=order))))
    assert (written.mode, written.size, written.getpixel((0, 0))) == ("RGB", (8, 8), (255, 0, 0))


def test_a_grey_image_is_written_with_one_channel(mx: Any, image: Any) -> None:
    pil_image = pytest.importorskip("PIL.Image")
    text = image.write(mx.nd.ones((1, 4, 6)) * 7, flag=0, format="png")
    written = pil_image.open(BytesIO(base64.b64decode(text)))
    assert (written.mode, written.size, written.getpixel((0, 0))) == ("L", (6, 4), 7)
