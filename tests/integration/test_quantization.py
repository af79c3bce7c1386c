"""A quantised model all the way: made by the archiver, served by the template, asked over HTTP."""

import importlib.util
import io
import json
import random
import shutil
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import pytest
from real import running_server

from mms.server.config import Config
from model_archiver import package_model
from model_archiver.quantization.agreement import compare, run_all
from model_archiver.quantization.network import Network
from tests.archiver.quantization.models import mxnet, needs_processor_for, np, stripes, train, write_samples

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "model_service_template"
EXAMPLE = ROOT / "examples" / "mxnet_vision"
# Photographs among scikit-image's pictures; drawings, texts and pictures of a few pixels are left out.
PHOTOS = (
    *("astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png", "gravel.png"),
    *("hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png", "retina.jpg", "rocket.jpg"),
)
CROPS = 1400

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize("precision", ["int8", "bf16"])
async def test_a_quantised_model_is_served(
    precision: str, config: Callable[..., Config], store: Path, tmp_path: Path, client: aiohttp.ClientSession
) -> None:
    mxnet()
    needs_processor_for(precision)
    folder = tmp_path / "net"
    shutil.copytree(TEMPLATE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    train(folder)
    package_model(
        model_name="net",
        model_path=folder,
        handler="mxnet_model_service:handle",
        export_path=store,
        quantize=precision,
        calibration_data=write_samples(tmp_path / "samples"),
    )
    original = Network.read(folder / "net-symbol.json", folder / "net-0000.params", input_name="data")
    pictures = stripes(20, seed=11)[0]

    async with running_server(config(load_models="ALL", default_workers_per_model=1)) as running:
        same = 0
        for picture in pictures:
            async with client.post(f"{running.inference}/predictions/net", json=picture.tolist()) as answer:
                assert answer.status == 200, await answer.text()
                values = await answer.json(content_type=None)
            same += int(np.argmax(values)) == int(original.run(picture)[0].argmax())

    assert same >= 19


@pytest.fixture(scope="module")
def squeezenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real SqueezeNet with our template."""
    mxnet()
    folder = tmp_path_factory.mktemp("squeezenet") / "model"
    shutil.copytree(TEMPLATE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(EXAMPLE / "signature.json", folder)
    get_model = script("get_model")
    try:
        get_model.write_model(folder)
    except get_model.MissingPackageError as exc:
        pytest.skip(str(exc))
    return folder


def script(name: str) -> ModuleType:
    """Import a script of the example."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def photos_of(package: str, folder: str, names: Sequence[str]) -> list[Path]:
    spec = importlib.util.find_spec(package)
    roots = list(spec.submodule_search_locations or []) if spec else []
    found = [Path(root, folder, name) for root in roots for name in names]
    if not found or not all(path.is_file() for path in found):
        pytest.skip(f"the photos of {package} are not there")
    return found


def crops(photos: Sequence[Path], count: int) -> list[Any]:
    """Cut squares out of photos, and prepare each as our template does."""
    from PIL import Image

    if str(TEMPLATE) not in sys.path:
        sys.path.insert(0, str(TEMPLATE))
    from mxnet_utils import image

    chance = random.Random(17)
    opened = [Image.open(photo).convert("RGB") for photo in photos]
    made = []
    for number in range(count):
        picture = opened[number % len(opened)]
        side = int(min(picture.size) * chance.uniform(0.5, 1))
        left, top = (chance.randrange(length - side + 1) for length in picture.size)
        written = io.BytesIO()
        picture.crop((left, top, left + side, top + side)).save(written, "JPEG", quality=90)
        made.append(image.resize(image.read(written.getvalue()), 224, 224).asnumpy().transpose(2, 0, 1))
    return made


def test_squeezenet_in_int8_names_the_same_classes_for_photos_that_it_was_not_calibrated_with(
    squeezenet: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    unseen = photos_of("skimage", "data", PHOTOS)
    known = photos_of("sklearn", "datasets/images", ("china.jpg", "flower.jpg"))
    (tmp_path / "photos").mkdir()
    script("cut_photos").cut(known, tmp_path / "photos", count=300)
    archive = package_model(
        model_name="squeezenet_v1.1",
        model_path=squeezenet,
        handler="mxnet_vision_service:handle",
        export_path=tmp_path,
        quantize="int8",
        calibration_data=tmp_path / "photos",
    )
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path / "int8")
    fp32, int8 = (
        Network.read(folder / "squeezenet_v1.1-symbol.json", folder / "squeezenet_v1.1-0000.params", input_name="data")
        for folder in (squeezenet, tmp_path / "int8")
    )
    pictures = crops(unseen, CROPS)

    agreement = compare(run_all(fp32, pictures), run_all(int8, pictures))

    report = json.loads((tmp_path / "int8" / "quantization.json").read_text())
    record_property("top1", agreement.top1)
    print(agreement, report["layers"]["kept_in_fp32"], report["ms"])
    assert agreement.top1 is not None
    assert agreement.top1 >= 0.95
    assert len(report["layers"]["int8"]) > 13
