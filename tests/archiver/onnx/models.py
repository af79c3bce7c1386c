"""Make ONNX models, and run them with ONNX's reference evaluator and, converted, with MXNet."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
reference = pytest.importorskip("onnx.reference")

from model_archiver.archive import ArchiveFile  # noqa: E402  # after the skip
from model_archiver.onnx import convert_onnx  # noqa: E402

FLOAT = onnx.TensorProto.FLOAT


def weights(*shape: int, seed: int = 1) -> Any:
    """Return numbers around 0."""
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def model_of(
    nodes: Sequence[Any],
    *,
    shape: Sequence[int | str | None],
    constants: dict[str, Any] | None = None,
    outputs: Sequence[str] = ("y",),
    opset: int = 17,
    dtype: int = FLOAT,
) -> Any:
    """Make a model with the input `x`."""
    graph = onnx.helper.make_graph(
        nodes,
        "graph",
        [onnx.helper.make_tensor_value_info("x", dtype, shape)],
        [onnx.helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)


def node(op: str, inputs: str, outputs: str = "y", **attributes: Any) -> Any:
    """Make a node; names are separated by blanks, and `-` is a missing input."""
    names = ["" if name == "-" else name for name in inputs.split()]
    return onnx.helper.make_node(op, names, outputs.split(), **attributes)


def convert(model: Any, folder: Path) -> Path:
    """Convert a model to `m-symbol.json`, `m-0000.params` and `signature.json` in a folder, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "net.onnx")
    convert_onnx(folder / "net.onnx", [ArchiveFile("net.onnx", folder / "net.onnx")], model_name="m", output=folder)
    return folder


def run_converted(folder: Path, data: Any) -> list[Any]:
    """Load a converted model as MXNet's users do, and run it."""
    from mms.worker import mxnet_compat

    mxnet_compat.install()
    mx = pytest.importorskip("mxnet")
    symbol, arguments, auxiliary = mx.model.load_checkpoint(str(folder / "m"), 0)
    module = mx.mod.Module(symbol, data_names=["x"], label_names=None)
    module.bind(data_shapes=[mx.io.DataDesc("x", data.shape, data.dtype)], for_training=False)
    module.set_params(arguments, auxiliary, allow_missing=False, allow_extra=False)
    module.forward(mx.io.DataBatch([mx.nd.array(data, dtype=data.dtype)]), is_train=False)
    return [output.asnumpy() for output in module.get_outputs()]


def assert_same(model: Any, data: Any, folder: Path) -> None:
    """Compare the converted model with ONNX's reference evaluator."""
    expected = reference.ReferenceEvaluator(model).run(None, {"x": data})
    actual = run_converted(convert(model, folder), data)
    assert len(actual) == len(expected)
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours.shape == (np.shape(theirs) or (1,))
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
