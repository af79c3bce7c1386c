import base64
import json
from pathlib import Path
from typing import Any

import pytest

from mms.protocol.messages import InferenceRequest, Parameter, Prediction, WorkerSpec
from mms.worker.loader import load_service

np = pytest.importorskip("numpy")

RED_PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEUlEQVR42mP8z4AdMDEMKQkAzUEBD7t4NqoAAAAASUVORK5CYII="
)

SERVICE = """
from mms.model_service.mxnet_vision_service import MXNetVisionService


class Colors(MXNetVisionService):
    pass
"""


def save_archive(mx: Any, folder: Path) -> None:
    """A network that answers with the mean of each colour: its labels are red, green, blue."""
    pooled = mx.sym.Pooling(mx.sym.Variable("data"), global_pool=True, pool_type="avg", kernel=(1, 1))
    scale = mx.sym.Variable("scale", shape=(1,))
    symbol = mx.sym.broadcast_mul(mx.sym.Flatten(pooled), scale)
    mx.model.save_checkpoint(str(folder / "colors"), 0, symbol, {"scale": mx.nd.ones((1,))}, {})
    model = {
        "Service": "colors.py",
        "Symbol": "colors-symbol.json",
        "Parameters": "colors-0000.params",
        "Signature": "signature.json",
    }
    signature = {"inputs": [{"data_name": "data", "data_shape": [0, 3, 4, 2]}], "input_type": "image/jpeg"}
    (folder / "MANIFEST.json").write_text(json.dumps({"Model": model}))
    (folder / "signature.json").write_text(json.dumps(signature))
    (folder / "colors.py").write_text(SERVICE)


def test_an_image_is_classified(mx: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_archive(mx, tmp_path)
    (tmp_path / "synset.txt").write_text("red\ngreen\nblue\n")
    monkeypatch.syspath_prepend(tmp_path)
    service = load_service(WorkerSpec(model_name="colors", model_dir=str(tmp_path), handler="colors.py"))
    (result,) = service.predict([InferenceRequest("r", b"", [Parameter("data", "image/png", RED_PNG)])]).results
    assert isinstance(result, Prediction)
    answer = json.loads(result.body)
    assert [entry["class"] for entry in answer] == ["red", "green", "blue"]
    assert np.allclose([entry["probability"] for entry in answer], [255, 0, 0])


def test_without_labels_the_assertion_says_why(mx: Any, tmp_path: Path) -> None:
    from mms.model_service.mxnet_vision_service import MXNetVisionService

    save_archive(mx, tmp_path)
    service = MXNetVisionService("colors", str(tmp_path), json.loads((tmp_path / "MANIFEST.json").read_bytes()))
    with pytest.raises(AssertionError, match=r"Can't find labels attribute\. Did you put synset\.txt"):
        service.inference([RED_PNG])
