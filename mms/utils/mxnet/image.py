"""Images as NDArrays, for archives of MMS 0.x. Worker process; imports mxnet and, to write images, Pillow."""

import base64
from io import BytesIO
from typing import Any

import mxnet as mx


def transform_shape(img_arr: Any, dim_order: str = "NCHW") -> Any:
    """Return an image (height, width, channel) as a batch of one, in the order `NCHW` or `NHWC`."""
    if dim_order not in ("NCHW", "NHWC"):
        raise AssertionError("dim_order must be 'NCHW' or 'NHWC'.")
    if dim_order == "NCHW":
        img_arr = mx.nd.transpose(img_arr, (2, 0, 1))
    return mx.nd.expand_dims(img_arr, axis=0)


def read(buf: Any, flag: int = 1, to_rgb: bool = True, out: Any = None) -> Any:
    """Decode an image file's bytes to uint8 (height, width, channel); `flag` 0 gives one grey channel.

    `to_rgb` False leaves the channels in OpenCV's order, BGR.
    """
    return mx.image.imdecode(buf, flag=flag, to_rgb=to_rgb, out=out)


def write(img_arr: Any, flag: int = 1, format: str = "jpeg", dim_order: str = "CHW") -> str:
    """Return an image in the order `CHW` or `HWC` as the base64 text of a file; `flag` 0 for one grey channel."""
    from PIL import Image

    if dim_order not in ("CHW", "HWC"):
        raise AssertionError("dim_order must be 'CHW' or 'HWC'.")
    if dim_order == "CHW":
        img_arr = mx.nd.transpose(img_arr, (1, 2, 0))
    if flag != 1:
        img_arr = mx.nd.reshape(img_arr, (img_arr.shape[0], img_arr.shape[1]))
    file = BytesIO()
    Image.fromarray(img_arr.astype("uint8").asnumpy()).save(file, format=format)
    return base64.b64encode(file.getvalue()).decode()


def resize(src: Any, new_width: int, new_height: int, interp: int = 2) -> Any:
    """Resize an image (height, width, channel); `interp` is OpenCV's number, 2 for bicubic."""
    return mx.image.imresize(src, new_width, new_height, interp)


def fixed_crop(src: Any, x0: int, y0: int, w: int, h: int, size: tuple[int, int] | None = None, interp: int = 2) -> Any:
    """Cut a rectangle of `w` x `h` at (x0, y0) from an image, and resize it to `size` (width, height) if given."""
    return mx.image.fixed_crop(src, x0, y0, w, h, size, interp)


def color_normalize(src: Any, mean: Any, std: Any = None) -> Any:
    """Return an image as float32, less `mean` and divided by `std`, both per channel."""
    return mx.image.color_normalize(src.astype("float32"), mean, std)
