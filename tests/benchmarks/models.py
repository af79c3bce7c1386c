"""The models that are served: one source of each handler, one archive for all servers, built with our archiver."""

import io
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from model_archiver.packaging import package_model

CHECKOUT = Path(__file__).resolve().parents[2]
PHOTO_PIXELS = (500, 375)
TOLERANCE = 1e-4
"""By which probabilities of the same picture may differ."""

HANDLERS: Mapping[str, str] = {
    "noop": """
def handle(data, context):
    return None if data is None else ["OK"] * len(data)
""",
    "echo": """
def handle(data, context):
    return None if data is None else [item["body"] for item in data]
""",
    "busy": """
import time

def handle(data, context):
    if data is None:
        return None
    time.sleep(0.005)
    return ["OK"] * len(data)
""",
    "stuck": """
import time

def handle(data, context):
    if data is None:
        return None
    time.sleep(120)
    return ["OK"] * len(data)
""",
}
# The image service that Multi Model Server's own wheel ships, reached from an archive of today's format. It takes one
# image; for a batch its own steps are used: each image is read by it, then one forward, then the classes of each.
MMS_VISION = """
import mxnet
from mms.model_service.mxnet_vision_service import MXNetVisionService


class Vision:
    def initialize(self, context):
        files = {
            "Signature": "signature.json",
            "Symbol": "squeezenet_v1.1-symbol.json",
            "Parameters": "squeezenet_v1.1-0000.params",
        }
        folder = context.system_properties["model_dir"]
        self._service = MXNetVisionService("squeezenet_v1.1", folder, {"Model": files})

    def handle(self, data, context):
        service = self._service
        images = [service._preprocess([item.get("data", item.get("body"))])[0] for item in data]
        together = images[0] if len(images) == 1 else mxnet.nd.concat(*images, dim=0)
        (shares,) = service._inference([together])
        return [service._postprocess([shares[row : row + 1]])[0] for row in range(len(images))]
"""
OUR_TEMPLATE, MMS_TEMPLATE = "mxnet_vision_service:handle", "mms_vision.py"
"""The handlers of SqueezeNet's archive."""


class Models:
    """A model store that is filled as its archives are asked for."""

    def __init__(self, folder: Path) -> None:
        self._store = folder / "store"
        self._sources = folder / "sources"
        self._store.mkdir(parents=True)

    def archive(self, name: str) -> Path:
        """Return the archive of one of HANDLERS."""
        source = self._sources / name
        if not source.exists():
            source.mkdir(parents=True)
            (source / f"{name}.py").write_text(HANDLERS[name])
            self._package(name, source, f"{name}:handle")
        return self._store / f"{name}.mar"

    def squeezenet(self, template: str = OUR_TEMPLATE) -> Path:
        """Return the archive of SqueezeNet with one of the templates; the files in it are the same with either."""
        # Ours finds its files by the name of the model.
        name = "squeezenet_v1.1" if template == OUR_TEMPLATE else "squeezenet_v1.1-mms"
        archive = self._store / f"{name}.mar"
        if not archive.exists():
            self._package(name, self.squeezenet_folder(), template)
        return archive

    def squeezenet_int8(self) -> Path:
        """Return the archive of the same model in int8, under its name, made as the example's README says."""
        name = "squeezenet_v1.1"
        store, photos = self._store / "int8", self._sources / "photos"
        if not store.exists():
            source = self.squeezenet_folder()
            store.mkdir()
            example = CHECKOUT / "examples" / "mxnet_vision"
            subprocess.run([sys.executable, str(example / "cut_photos.py"), str(photos)], check=True)
            package_model(
                model_name=name,
                model_path=source,
                handler="mxnet_vision_service:handle",
                export_path=store,
                quantize="int8",
                calibration_data=photos,
            )
        return store / f"{name}.mar"

    def squeezenet_folder(self) -> Path:
        """Return the files of those archives."""
        source = self._sources / "squeezenet_v1.1"
        if not source.exists():
            self._copy_squeezenet(source)
        return source

    def _copy_squeezenet(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        example = CHECKOUT / "examples" / "mxnet_vision"
        subprocess.run(
            [sys.executable, str(example / "get_model.py"), str(folder)],
            env={"PYTHONPATH": str(CHECKOUT)},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        (folder / "signature.json").write_bytes((example / "signature.json").read_bytes())
        template = CHECKOUT / "model_service_template"
        for file in template.rglob("*.py"):
            target = folder / file.relative_to(template)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(file.read_bytes())
        (folder / MMS_TEMPLATE).write_text(MMS_VISION)

    def _package(self, name: str, source: Path, handler: str) -> None:
        package_model(model_name=name, model_path=source, handler=handler, export_path=self._store)


def photo() -> bytes:
    """Return a JPEG of 500 x 375 pixels."""
    from PIL import Image

    image = Image.open(CHECKOUT / "docs" / "images" / "kitten_small.jpg").resize(PHOTO_PIXELS)
    written = io.BytesIO()
    image.save(written, "JPEG", quality=90)
    return written.getvalue()


def difference(one: bytes, other: bytes) -> str:
    """Say how two answers about the same picture differ in more than TOLERANCE, or nothing."""
    first, second = _classes(one), _classes(other)
    if list(first) != list(second):
        return f"classes {list(first)} and {list(second)}"
    most = max(abs(first[name] - second[name]) for name in first)
    return f"probabilities differ by {most:.2g}" if most > TOLERANCE else ""


def difference_in_class(one: bytes, other: bytes) -> str:
    """Say how the likeliest classes of two answers differ, or nothing: for models of different precision."""
    first, second = (next(iter(_classes(answer))) for answer in (one, other))
    return "" if first == second else f"classes {first} and {second}"


def _classes(answer: bytes) -> dict[str, float]:
    return {item["class"]: item["probability"] for item in json.loads(answer)}
