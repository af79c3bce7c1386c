import io
import sys
from pathlib import Path
from typing import Any

import pytest

from model_archiver.errors import ModelArchiverError
from model_archiver.quantization.data import LEAST_SAMPLES, read_samples
from tests.archiver.quantization.models import SHAPE, mxnet, np, stripes

TEMPLATE = Path(__file__).parents[3] / "model_service_template"
PHOTO = Path(__file__).parents[3] / "docs" / "images" / "kitten_small.jpg"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with just enough samples."""
    mxnet()
    folder = tmp_path / "data"
    folder.mkdir()
    np.save(folder / "stripes.npy", stripes(2 * LEAST_SAMPLES, seed=1)[0])
    return folder


def digests(samples: list[Any]) -> set[bytes]:
    return {sample.tobytes() for sample in samples}


def test_half_of_the_samples_are_held_out(data: Path) -> None:
    samples = read_samples(data, SHAPE, calibrates=True)

    assert len(samples.calibration) == len(samples.held_out) == LEAST_SAMPLES
    assert not digests(samples.calibration) & digests(samples.held_out)
    assert samples.images == 0


def test_all_are_held_out_where_nothing_is_calibrated(data: Path) -> None:
    samples = read_samples(data, SHAPE, calibrates=False)

    assert (len(samples.calibration), len(samples.held_out)) == (0, 2 * LEAST_SAMPLES)


def test_names_and_copies_change_nothing(data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "part").mkdir(parents=True)
    for number, picture in enumerate(np.load(data / "stripes.npy")[::-1]):
        np.save(other / "part" / f"{number}.npy", picture)
    np.save(other / "again.npy", picture)

    one, two = (read_samples(folder, SHAPE, calibrates=True) for folder in (data, other))

    assert digests(one.calibration) == digests(two.calibration)
    assert digests(one.held_out) == digests(two.held_out)


def test_other_and_hidden_files_are_left_out(data: Path) -> None:
    (data / "README.txt").write_text("about the samples")
    (data / ".stripes.npy").write_bytes(b"no array")
    (data / ".cache").mkdir()
    (data / ".cache" / "a.jpg").write_bytes(b"no image")

    assert len(read_samples(data, SHAPE, calibrates=True).held_out) == LEAST_SAMPLES


def test_too_few_samples_are_told_with_how_many_are_needed(data: Path) -> None:
    np.save(data / "stripes.npy", stripes(LEAST_SAMPLES, seed=1)[0])

    with pytest.raises(ModelArchiverError, match="has 32 different samples; at least 64 are needed"):
        read_samples(data, SHAPE, calibrates=True)
    assert len(read_samples(data, SHAPE, calibrates=False).held_out) == LEAST_SAMPLES


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 8, 8), np.float32), r"odd.npy has the shape \(3, 8, 8\); the model's input is \(3, 16, 16\)"),
        (np.zeros((2, 2, *SHAPE), np.float32), "odd.npy has the shape"),
        (np.full(SHAPE, np.nan, np.float32), "odd.npy has values that are not finite"),
        (np.array([{}], dtype=object), "odd.npy is not a readable array"),
        (np.full(SHAPE, "x"), "odd.npy is not a readable array of numbers"),
    ],
)
def test_arrays_that_are_no_input_are_named(array: Any, message: str, data: Path) -> None:
    np.save(data / "odd.npy", array)

    with pytest.raises(ModelArchiverError, match=message):
        read_samples(data, SHAPE, calibrates=True)


def test_zero_in_the_signature_is_any_length(data: Path) -> None:
    np.save(data / "small.npy", stripes(1, seed=3)[0][:, :, :8])

    assert len(read_samples(data, [3, 0, 16], calibrates=False).held_out) == 2 * LEAST_SAMPLES + 1


def test_a_broken_image_is_named(data: Path) -> None:
    (data / "cat.jpg").write_bytes(PHOTO.read_bytes()[:2000])

    with pytest.raises(ModelArchiverError, match="cat.jpg is not a readable image"):
        read_samples(data, SHAPE, calibrates=True)


def test_images_for_a_model_that_takes_none_are_refused(data: Path) -> None:
    (data / "cat.jpg").write_bytes(PHOTO.read_bytes())

    with pytest.raises(ModelArchiverError, match=r"cat.jpg is an image, but .* \(1, 16, 16\).* Give .npy arrays"):
        read_samples(data, [1, 16, 16], calibrates=True)


def pictures() -> dict[str, bytes]:
    """Make a photo in each of the ways that images are stored."""
    from PIL import Image

    photo = Image.open(PHOTO)
    deep = Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257)
    written = {"a.jpg": PHOTO.read_bytes()}
    for name, image in {
        "rgba.png": photo.convert("RGBA"),
        "palette.png": photo.convert("P"),
        "grey.jpeg": photo.convert("L"),
        "deep.png": deep,
        "cmyk.jpg": photo.convert("CMYK"),
    }.items():
        stream = io.BytesIO()
        image.save(stream, "PNG" if name.endswith("png") else "JPEG")
        written[name] = stream.getvalue()
    return written


@pytest.mark.parametrize("name", ["a.jpg", "rgba.png", "palette.png", "grey.jpeg", "deep.png", "cmyk.jpg"])
def test_an_image_becomes_what_the_template_makes_of_it(name: str, tmp_path: Path) -> None:
    mxnet()
    if str(TEMPLATE) not in sys.path:
        sys.path.insert(0, str(TEMPLATE))
    from mxnet_utils import image
    from mxnet_vision_service import MXNetVisionService

    service = MXNetVisionService()
    service.signature = {"inputs": [{"data_name": "data", "data_shape": [0, 3, 96, 128]}]}
    (tmp_path / name).write_bytes(pictures()[name])
    np.save(tmp_path / "others.npy", np.arange(LEAST_SAMPLES * 3 * 96 * 128, dtype=np.float32).reshape(-1, 3, 96, 128))

    samples = read_samples(tmp_path, [3, 96, 128], calibrates=False)

    expected = service.transform(image.read(pictures()[name]))
    assert samples.images == 1
    [found] = [sample for sample in samples.held_out if sample.dtype == np.uint8]
    np.testing.assert_array_equal(found.astype(np.float32), np.asarray(expected, np.float32))
