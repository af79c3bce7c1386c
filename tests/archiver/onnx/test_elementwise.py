"""Operators on single elements, and reductions, compared with ONNX's reference evaluator."""

from pathlib import Path
from typing import Any

import pytest

np = pytest.importorskip("numpy")
pytest.importorskip("onnx")

from model_archiver.errors import ModelArchiverError  # noqa: E402

from .models import assert_same, convert, model_of, node, onnx, weights  # noqa: E402  # after the skip

ANY = (
    *("Abs", "Ceil", "Cos", "Dropout", "Elu", "Erf", "Exp", "Floor", "HardSigmoid", "HardSwish", "Identity"),
    *("LeakyRelu", "Neg", "Relu", "Sigmoid", "Sin", "Softplus", "Softsign", "Tanh"),
)


@pytest.mark.parametrize("op", ANY)
def test_functions_of_any_number(tmp_path: Path, op: str) -> None:
    assert_same(model_of([node(op, "x")], shape=["N", 4, 5]), weights(2, 4, 5) * 3, tmp_path)


@pytest.mark.parametrize("op", ["Log", "Sqrt", "Reciprocal"])
def test_functions_of_positive_numbers(tmp_path: Path, op: str) -> None:
    assert_same(model_of([node(op, "x")], shape=["N", 4]), abs(weights(2, 4)) + 0.1, tmp_path)


@pytest.mark.parametrize(
    ("op", "attributes"),
    [("Elu", {"alpha": 0.3}), ("LeakyRelu", {"alpha": 0.2}), ("HardSigmoid", {"alpha": 0.4, "beta": 0.1})],
)
def test_attributes_are_kept(tmp_path: Path, op: str, attributes: dict[str, float]) -> None:
    assert_same(model_of([node(op, "x", **attributes)], shape=["N", 4]), weights(2, 4), tmp_path)


@pytest.mark.parametrize("slope", [(3, 1, 1), (1,), (4,), (2, 3, 4, 4)])
def test_prelu_broadcasts(tmp_path: Path, slope: tuple[int, ...]) -> None:
    model = model_of([node("PRelu", "x s")], shape=["N", 3, 4, 4], constants={"s": weights(*slope)})
    assert_same(model, weights(2, 3, 4, 4, seed=3), tmp_path)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Sum", "Max", "Min", "Mean"])
@pytest.mark.parametrize("other", [(), (1,), (4,), (3, 1, 1), (1, 3, 4, 4)])
def test_constants_are_broadcast(tmp_path: Path, op: str, other: tuple[int, ...]) -> None:
    model = model_of([node(op, "x c")], shape=["N", 3, 4, 4], constants={"c": weights(*other, seed=5)})
    assert_same(model, weights(2, 3, 4, 4, seed=3), tmp_path)


@pytest.mark.parametrize("op", ["Sub", "Div", "Pow"])
def test_a_constant_may_come_first(tmp_path: Path, op: str) -> None:
    model = model_of([node(op, "c x")], shape=["N", 3], constants={"c": abs(weights(3, seed=5))})
    assert_same(model, abs(weights(2, 3, seed=3)) + 0.5, tmp_path)


@pytest.mark.parametrize("op", ["Sum", "Max", "Min", "Mean"])
@pytest.mark.parametrize("count", [1, 3])
def test_any_number_of_inputs(tmp_path: Path, op: str, count: int) -> None:
    names = " ".join(["x", "a", "b"][:count])
    model = model_of([node("Relu", "x", "a"), node("Neg", "x", "b"), node(op, names)], shape=["N", 3])
    assert_same(model, weights(2, 3), tmp_path)


@pytest.mark.parametrize("inputs", ["x low high", "x low", "x - high", "x", "x low infinite"])
def test_clip_with_inputs(tmp_path: Path, inputs: str) -> None:
    constants = {"low": np.float32(-0.5), "high": np.float32(0.25), "infinite": np.float32(np.inf)}
    assert_same(model_of([node("Clip", inputs)], shape=["N", 9], constants=constants), weights(2, 9), tmp_path)


def test_clip_with_attributes(tmp_path: Path) -> None:
    assert_same(model_of([node("Clip", "x", min=-0.5, max=0.25)], shape=["N", 9], opset=7), weights(2, 9), tmp_path)


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize(
    ("opset", "attributes", "shape"),
    [
        (13, {}, (2, 3, 4)),
        (13, {"axis": 1}, (2, 3, 4)),
        (11, {}, (2, 3)),
        (11, {}, (2, 3, 4)),
        (11, {"axis": -1}, (2, 3, 4)),
    ],
)
def test_softmax_of_both_definitions(
    tmp_path: Path, op: str, opset: int, attributes: dict[str, int], shape: tuple[int, ...]
) -> None:
    model = model_of([node(op, "x", **attributes)], shape=["N", *shape[1:]], opset=opset)
    data = weights(*shape)
    if opset >= 13:
        assert_same(model, data, tmp_path)
        return
    # The reference evaluator knows the later definition only: say the same with it.
    axis = attributes.get("axis", 1)
    newer = model_of(
        [node("Reshape", "x to", "flat"), node(op, "flat", "soft"), node("Reshape", "soft back")],
        shape=shape,
        constants={
            "to": np.array([shape[0], -1] if axis == 1 else shape),
            "back": np.array(shape),
        },
    )
    from .models import reference, run_converted

    expected = reference.ReferenceEvaluator(newer).run(None, {"x": data})[0]
    np.testing.assert_allclose(run_converted(convert(model, tmp_path), data)[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2"])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axes", [None, [2, 3], [-1]])
def test_reductions(tmp_path: Path, op: str, keepdims: int, axes: list[int] | None) -> None:
    constants: dict[str, Any] = {} if axes is None else {"axes": np.array(axes)}
    inputs = "x" if axes is None else "x axes"
    model = model_of([node(op, inputs, keepdims=keepdims)], shape=["N", 3, 4, 5], constants=constants, opset=18)
    assert_same(model, weights(2, 3, 4, 5), tmp_path)


def test_reduction_axes_as_attribute(tmp_path: Path) -> None:
    model = model_of([node("ReduceMean", "x", axes=[2, 3])], shape=["N", 3, 4, 5], opset=11)
    assert_same(model, weights(2, 3, 4, 5), tmp_path)


def test_cast(tmp_path: Path) -> None:
    model = model_of(
        [node("Cast", "x", "i", to=onnx.TensorProto.INT32), node("Cast", "i", to=onnx.TensorProto.FLOAT)],
        shape=["N", 5],
    )
    assert_same(model, weights(2, 5) * 5, tmp_path)


def test_inputs_of_other_types(tmp_path: Path) -> None:
    model = model_of([node("Cast", "x", to=onnx.TensorProto.FLOAT)], shape=["N", 5], dtype=onnx.TensorProto.UINT8)
    assert_same(model, np.arange(10, dtype="uint8").reshape(2, 5), tmp_path)


@pytest.mark.parametrize(
    ("nodes", "opset", "words"),
    [
        ([node("Softmax", "x", axis=2)], 11, "axis 2 is not supported in opset 11"),
        ([node("Cast", "x", to=8)], 17, "data type 8 is not supported"),
        (
            [node("Relu", "x", "r"), node("ReduceMax", "x", "m"), node("Clip", "x m")],
            17,
            "is computed while the model runs",
        ),
        (
            [node("Relu", "x", "r"), node("Dropout", "x", "d mask"), node("Relu", "mask")],
            17,
            "is an output that is not",
        ),
    ],
)
def test_what_mxnet_cannot_do_is_refused(tmp_path: Path, nodes: list[Any], opset: int, words: str) -> None:
    with pytest.raises(ModelArchiverError, match=words):
        convert(model_of(nodes, shape=["N", 2, 3, 4], opset=opset), tmp_path)
