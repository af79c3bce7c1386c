import json
from pathlib import Path
from typing import Any

import pytest

from .test_mxnet_vision_service import RED_PNG

np = pytest.importorskip("numpy")


@pytest.fixture
def service(mx: Any, tmp_path: Path) -> Any:
    """A Gluon network that answers with the mean of each normalised colour."""
    from mms.model_service.gluon_vision_service import GluonVisionService

    signature = {"inputs": [{"data_name": "data", "data_shape": [0, 3, 4, 2]}], "input_type": "image/jpeg"}
    (tmp_path / "signature.json").write_text(json.dumps(signature))
    (tmp_path / "synset.txt").write_text("red\ngreen\nblue\n")
    net = mx.gluon.nn.Sequential()
    net.add(mx.gluon.nn.GlobalAvgPool2D(), mx.gluon.nn.Flatten())
    return GluonVisionService("m", str(tmp_path), {"Model": {"Signature": "signature.json"}}, net)


def test_an_image_is_classified(service: Any) -> None:
    (answer,) = service.inference([RED_PNG])
    assert [entry["class"] for entry in answer] == ["red", "blue", "green"]
    normalised = np.array([(1 - 0.485) / 0.229, -0.406 / 0.225, -0.456 / 0.224])
    expected = np.exp(normalised) / np.exp(normalised).sum()
    assert np.allclose([entry["probability"] for entry in answer], expected, atol=1e-5)


def test_the_input_is_checked(mx: Any, service: Any) -> None:
    with pytest.raises(AssertionError, match="different shape"):
        service._inference([mx.nd.ones((1, 3, 4, 4))])
