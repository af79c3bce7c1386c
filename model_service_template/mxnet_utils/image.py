"""Images in and out of MXNet arrays. Arrays here are height x width x channel (HWC), uint8 unless said otherwise."""

import base64
import io
import struct
from typing import Any

import mxnet as mx
import numpy as np
from PIL import Image

try:  # twice as fast with JPEG as Pillow, and the same pixels
    import simplejpeg
except ImportError:
    simplejpeg = None

MAX_PIXELS = 50_000_000
"""Larger images are refused before they are decoded: a PNG of 400 KB can hold 400 million pixels, 1.2 GB of memory."""

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF")

_BROKEN = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError, struct.error)
"""What Pillow's decoders raise on broken files."""


class ImageError(ValueError):
    """The client's image cannot be used; the message says why and is meant for the client."""


def read(buf: bytes | bytearray | None, flag: int = 1, to_rgb: bool = True, out: Any = None) -> Any:
    """Decode an image into an NDArray of shape (height, width, 3), or (height, width, 1) if `flag` is 0.

    The pixels are those of `mx.image.imdecode`: an alpha channel and the EXIF orientation are ignored, 16-bit images
    keep their upper 8 bits. Unlike it, a truncated image is an error. `to_rgb=False` gives the channels as BGR.
    Raises ImageError.
    """
    if not buf:
        raise ImageError("Empty image input")
    if not isinstance(buf, (bytes, bytearray)):  # text or JSON
        raise ImageError("Corrupted image input")
    pixels = _decode_jpeg(buf) if flag and simplejpeg is not None else None
    if pixels is None:
        pixels = _decode(buf, "RGB" if flag else "L")
    if pixels.ndim == 2:
        pixels = pixels[:, :, np.newaxis]
    if not to_rgb:
        pixels = np.ascontiguousarray(pixels[:, :, ::-1])
    image = mx.nd.from_numpy(pixels)  # shares the memory: mx.nd.array would copy it
    if out is None:
        return image
    out[:] = image
    return out


def _decode_jpeg(buf: bytes | bytearray) -> Any:
    """Decode an ordinary JPEG; None for what only Pillow shall judge: other images, rare kinds of JPEG, broken ones."""
    if not buf.startswith(b"\xff\xd8"):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(buf)
        if colours != "YCbCr" or width * height > MAX_PIXELS:
            return None
        return simplejpeg.decode_jpeg(buf)
    except ValueError:  # also of what libjpeg could mend, and Pillow perhaps does
        return None


def _decode(buf: bytes | bytearray, mode: str) -> Any:
    try:
        with Image.open(io.BytesIO(buf), formats=FORMATS) as image:
            width, height = image.size  # from the header: nothing is decoded yet
            if width * height > MAX_PIXELS:
                raise ImageError(f"Image input has {width} x {height} pixels, more than {MAX_PIXELS}")
            if mode == "L":
                image.draft("L", image.size)  # a JPEG's own luminance, as OpenCV takes it
            if image.mode.startswith("I"):  # 16-bit greyscale; convert() would clip it at 255
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            image.load()
            image.info.pop("transparency", None)  # convert() would look at it, and warn
            return np.asarray(image if image.mode == mode else image.convert(mode))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        raise ImageError(f"Image input has more than {MAX_PIXELS} pixels") from exc
    except ImageError:
        raise
    except _BROKEN as exc:
        raise ImageError("Corrupted image input") from exc


def write(img_arr: Any, flag: int = 1, format: str = "jpeg", dim_order: str = "CHW") -> str:
    """Encode an image as base64 text. `flag` 0: one grey channel; `dim_order`: "CHW" or "HWC"."""
    if dim_order not in ("CHW", "HWC"):
        raise ValueError(f"dim_order must be 'CHW' or 'HWC', not {dim_order!r}.")
    pixels = img_arr.asnumpy().astype(np.uint8)
    if dim_order == "CHW":
        pixels = pixels.transpose(1, 2, 0)
    image = Image.fromarray(np.ascontiguousarray(pixels if flag else pixels[:, :, 0]))
    output = io.BytesIO()
    image.save(output, format=format)
    return base64.b64encode(output.getvalue()).decode("ascii")


def resize(src: Any, new_width: int, new_height: int, interp: int = 2) -> Any:
    """Resize an image. `interp`: 0 nearest, 1 bilinear, 2 bicubic, 3 area, 4 Lanczos.

    These are OpenCV's numbers, which MXNet passes on; its documentation has 2 and 3 the wrong way round.
    """
    return mx.image.imresize(src, new_width, new_height, interp)


def fixed_crop(src: Any, x0: int, y0: int, w: int, h: int, size: tuple[int, int] | None = None, interp: int = 2) -> Any:
    """Cut `w` x `h` pixels at (`x0`, `y0`) out of an image; resize them to `size` (width, height), if given."""
    return mx.image.fixed_crop(src, x0, y0, w, h, size, interp)


def color_normalize(src: Any, mean: Any, std: Any = None) -> Any:
    """Subtract `mean` from an image, then divide by `std`, both one value a channel. The result is float32."""
    return mx.image.color_normalize(src.astype(np.float32), mean, std)


def transform_shape(img_arr: Any, dim_order: str = "NCHW") -> Any:
    """Make a batch of one image: shape (1, channel, height, width), or (1, height, width, channel) for "NHWC"."""
    if dim_order not in ("NCHW", "NHWC"):
        raise ValueError(f"dim_order must be 'NCHW' or 'NHWC', not {dim_order!r}.")
    if dim_order == "NCHW":
        img_arr = mx.nd.transpose(img_arr, (2, 0, 1))
    return mx.nd.expand_dims(img_arr, axis=0)
