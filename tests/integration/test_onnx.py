"""An ONNX model all the way: converted and packed by the archiver, served by the template, asked over HTTP."""

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from real import running_server

from mms.server.config import Config
from model_archiver import package_model

np = pytest.importorskip("numpy")
onnx = pytest.importorskip("onnx")
if importlib.util.find_spec("mxnet") is None:
    pytest.skip("mxnet runs the converted model", allow_module_level=True)

TEMPLATE = Path(__file__).parents[2] / "model_service_template"


def small_network() -> "onnx.ModelProto":
    """Return a convolution, an activation and a mean over all pixels: images of 3 x 8 x 8 to 4 numbers."""
    weights = np.random.default_rng(7).normal(size=(4, 3, 3, 3)).astype(np.float32)
    float_type = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Conv", ["image", "w"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            onnx.helper.make_node("Relu", ["c"], ["r"]),
            onnx.helper.make_node("GlobalAveragePool", ["r"], ["p"]),
            onnx.helper.make_node("Flatten", ["p"], ["y"]),
        ],
        "small",
        [onnx.helper.make_tensor_value_info("image", float_type, ["N", 3, 8, 8])],
        [onnx.helper.make_tensor_value_info("y", float_type, ["N", 4])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    return onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)


@pytest.mark.slow
async def test_onnx_model_is_converted_and_served(
    config: Callable[..., Config], store: Path, tmp_path: Path, client: aiohttp.ClientSession
) -> None:
    network = small_network()
    folder = tmp_path / "small"
    shutil.copytree(TEMPLATE, folder)
    onnx.save(network, folder / "small.onnx")
    package_model(
        model_name="small", model_path=folder, handler="mxnet_model_service:handle", export_path=store, convert=True
    )
    image = np.random.default_rng(8).normal(size=(3, 8, 8)).astype(np.float32)
    [expected] = onnx.reference.ReferenceEvaluator(network).run(None, {"image": image[np.newaxis]})

    async with (
        running_server(config(load_models="ALL")) as running,
        client.post(f"{running.inference}/predictions/small", json=image.tolist()) as answer,
    ):
        assert answer.status == 200
        predicted = await answer.json(content_type=None)

    assert np.allclose(np.ravel(predicted), expected.ravel(), atol=1e-4)
