"""The samples for the option --quantize: read from a folder and split in two. Runs in the command line tool."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_archiver.errors import ModelArchiverError
from model_archiver.quantization.network import import_mxnet

IMAGES = (".jpeg", ".jpg", ".png")
ARRAYS = (".npy",)
LEAST_SAMPLES = 32
"""So many for the calibration, and so many for the judgement: less say nothing about the share of wrong answers."""
_BICUBIC = 2


@dataclass(frozen=True, slots=True)
class Samples:
    """Inputs of the network, without batch. What is held out shares no sample with what is for calibration."""

    calibration: list[Any]
    held_out: list[Any]
    images: int
    """How many of all were read from images."""


def read_samples(folder: Path, shape: Sequence[int], *, calibrates: bool) -> Samples:
    """Read every image and .npy file under a folder, hidden ones left out; `shape` is the input's, without batch.

    An image is prepared as model_service_template/mxnet_vision_service.py does it: RGB, resized by bicubic
    interpolation, values 0 to 255, channels first. An array is one ready input, or several in one more dimension.
    The same sample counts once. Which half is held out follows from the content alone, so that neither names nor
    their order matter. Without calibration all are held out.
    """
    if not folder.is_dir():
        raise ModelArchiverError(f"The calibration data {folder} is not a directory.")
    unique: dict[str, Any] = {}
    images = 0
    for path in _files(folder):
        for sample in _read(path, shape):
            known = len(unique)
            unique.setdefault(hashlib.sha256(sample.tobytes()).hexdigest(), sample)
            images += path.suffix.lower() in IMAGES and len(unique) > known
    needed = 2 * LEAST_SAMPLES if calibrates else LEAST_SAMPLES
    if len(unique) < needed:
        raise ModelArchiverError(
            f"{folder} has {len(unique)} different samples; at least {needed} are needed, a few hundred are better. "
            f"Samples are {', '.join(IMAGES)} files and .npy arrays of shape {tuple(shape)}."
        )
    ordered = [unique[digest] for digest in sorted(unique)]
    if not calibrates:
        return Samples([], ordered, images)
    return Samples(ordered[::2], ordered[1::2], images)


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        visible = not any(part.startswith(".") for part in path.relative_to(folder).parts)
        if visible and path.suffix.lower() in (*IMAGES, *ARRAYS) and path.is_file():
            yield path


def _read(path: Path, shape: Sequence[int]) -> Iterator[Any]:
    if path.suffix.lower() in IMAGES:
        yield _read_image(path, shape)
    else:
        yield from _read_arrays(path, shape)


def _read_image(path: Path, shape: Sequence[int]) -> Any:
    if len(shape) != 3 or shape[0] != 3 or 0 in shape:
        raise ModelArchiverError(
            f"{path} is an image, but the model's input has the shape {tuple(shape)}, not 3 x height x width. "
            "Give .npy arrays, prepared as the model's handler prepares its input."
        )
    mx = import_mxnet()
    pixels = mx.nd.array(_decode(path), dtype="uint8")
    return mx.image.imresize(pixels, shape[2], shape[1], _BICUBIC).asnumpy().transpose(2, 0, 1)


def _decode(path: Path) -> Any:
    import numpy as np
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode.startswith("I"):  # 16-bit grey: the template keeps the upper 8 bits
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            image.load()
            image.info.pop("transparency", None)  # convert() would look at it, and warn
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as exc:
        raise ModelArchiverError(f"{path} is not a readable image: {exc}.") from exc


def _read_arrays(path: Path, shape: Sequence[int]) -> Iterator[Any]:
    import numpy as np

    try:
        array = np.load(path, allow_pickle=False)
        array = array if array.dtype == np.uint8 else array.astype(np.float32)
    except (OSError, ValueError, TypeError, EOFError) as exc:
        raise ModelArchiverError(f"{path} is not a readable array of numbers: {exc}.") from exc
    batch = array if array.ndim == len(shape) + 1 else array[np.newaxis]
    if batch.ndim != len(shape) + 1 or any(
        want not in (0, have) for want, have in zip(shape, batch.shape[1:], strict=True)
    ):
        raise ModelArchiverError(f"{path} has the shape {array.shape}; the model's input is {tuple(shape)}.")
    if not np.isfinite(batch).all():
        raise ModelArchiverError(f"{path} has values that are not finite.")
    yield from batch
