"""Operators with windows or weights, compared with ONNX's reference evaluator."""

from pathlib import Path
from typing import Any

import pytest

np = pytest.importorskip("numpy")
pytest.importorskip("onnx")

from model_archiver.errors import ModelArchiverError  # noqa: E402

from .models import assert_same, convert, model_of, node, run_converted, weights  # noqa: E402  # after the skip

K3 = {"kernel_shape": [3, 3]}


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"pads": [1, 2, 1, 2], "strides": [2, 1]},
        {"pads": [0, 1, 2, 0]},
        {"dilations": [2, 2], "pads": [2, 2, 2, 2]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
        {"auto_pad": "VALID"},
    ],
)
def test_conv(tmp_path: Path, attributes: dict[str, Any]) -> None:
    model = model_of(
        [node("Conv", "x w b", **K3, **attributes)],
        shape=["N", 2, 8, 9],
        constants={"w": weights(4, 2, 3, 3), "b": weights(4)},
    )
    assert_same(model, weights(2, 2, 8, 9, seed=3), tmp_path)


@pytest.mark.parametrize(("pads", "sizes"), [([1, 1], [9]), ([0, 2], [9]), ([1, 0, 1, 1, 2, 1], [5, 6, 7])])
def test_conv_in_one_and_three_dimensions(tmp_path: Path, pads: list[int], sizes: list[int]) -> None:
    kernel = [3] * len(sizes)
    model = model_of(
        [node("Conv", "x w", kernel_shape=kernel, pads=pads)],
        shape=["N", 2, *sizes],
        constants={"w": weights(4, 2, *kernel)},
    )
    assert_same(model, weights(1, 2, *sizes, seed=3), tmp_path)


@pytest.mark.parametrize(
    "attributes", [{}, {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}, {"dilations": [2, 2]}]
)
def test_conv_transpose(tmp_path: Path, attributes: dict[str, Any]) -> None:
    model = model_of(
        [node("ConvTranspose", "x w b", **K3, **attributes)],
        shape=["N", 4, 5, 5],
        constants={"w": weights(4, 3, 3, 3), "b": weights(3)},
    )
    assert_same(model, weights(1, 4, 5, 5, seed=3), tmp_path)


def test_conv_transpose_in_groups_is_one_for_each_group(tmp_path: Path) -> None:
    # The reference evaluator of onnx 1.23 fails on groups, hence two without them.
    data, kernel = weights(1, 4, 5, 5, seed=3), weights(4, 3, 3, 3)

    def run(group: int, data: Any, kernel: Any, name: str) -> Any:
        model = model_of(
            [node("ConvTranspose", "x w", **K3, group=group)],
            shape=["N", data.shape[1], 5, 5],
            constants={"w": kernel},
        )
        return run_converted(convert(model, tmp_path / name), data)[0]

    halves = [run(1, data[:, :2], kernel[:2], "first"), run(1, data[:, 2:], kernel[2:], "second")]
    np.testing.assert_allclose(run(2, data, kernel, "both"), np.concatenate(halves, axis=1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 4), (2, 4, 5), (2, 4, 5, 6)])
def test_batch_normalization(tmp_path: Path, shape: tuple[int, ...]) -> None:
    model = model_of(
        [node("BatchNormalization", "x s b m v", epsilon=0.01)],
        shape=["N", *shape[1:]],
        constants={"s": weights(4), "b": weights(4), "m": weights(4, seed=7), "v": abs(weights(4, seed=8))},
    )
    assert_same(model, weights(*shape, seed=3), tmp_path)


def test_one_constant_as_parameter_and_running_average(tmp_path: Path) -> None:
    positive = abs(weights(4))
    model = model_of(
        [
            node("BatchNormalization", "x s s s s", "n"),
            node("BatchNormalization", "n s s s s", "n2"),
            node("Add", "n2 s4", "y"),
        ],
        shape=["N", 4, 2, 2],
        constants={"s": positive, "s4": positive.reshape(4, 1, 1)},
    )
    assert_same(model, weights(2, 4, 2, 2, seed=3), tmp_path)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"strides": [2, 2], "pads": [1, 1, 1, 1]},
        {"strides": [2, 2], "pads": [0, 0, 1, 1]},
        {"strides": [2, 2], "ceil_mode": 1},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
    ],
)
def test_pooling(tmp_path: Path, op: str, attributes: dict[str, Any]) -> None:
    model = model_of([node(op, "x", **K3, **attributes)], shape=["N", 2, 8, 8])
    assert_same(model, weights(1, 2, 8, 8, seed=3), tmp_path)


@pytest.mark.parametrize("pads", [[1, 1, 1, 1], [0, 1, 1, 0]])
def test_average_pooling_may_count_the_padding(tmp_path: Path, pads: list[int]) -> None:
    model = model_of([node("AveragePool", "x", **K3, pads=pads, count_include_pad=1)], shape=["N", 2, 8, 8])
    assert_same(model, weights(1, 2, 8, 8, seed=3), tmp_path)


@pytest.mark.parametrize(("op", "function"), [("GlobalAveragePool", np.mean), ("GlobalMaxPool", np.max)])
@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 5), (2, 3, 4, 5, 6)])
def test_global_pooling(tmp_path: Path, op: str, function: Any, shape: tuple[int, ...]) -> None:
    data = weights(*shape)
    folder = convert(model_of([node(op, "x")], shape=["N", *shape[1:]]), tmp_path)
    expected = function(data, axis=tuple(range(2, len(shape))), keepdims=True)
    np.testing.assert_allclose(run_converted(folder, data)[0], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("attributes", "matrix", "bias"),
    [
        ({}, (3, 4), (4,)),
        ({"transB": 1}, (4, 3), (1, 4)),
        ({"transB": 1, "alpha": 0.5, "beta": 2.0}, (4, 3), (4,)),
        ({"transA": 1}, (2, 4), (4,)),
        ({"beta": 0.25}, (3, 4), (1,)),
        ({}, (3, 4), None),
        ({}, (3, 4), (2, 4)),
    ],
)
def test_gemm(
    tmp_path: Path, attributes: dict[str, Any], matrix: tuple[int, ...], bias: tuple[int, ...] | None
) -> None:
    constants = {"w": weights(*matrix)} | ({"b": weights(*bias, seed=2)} if bias else {})
    model = model_of([node("Gemm", "x w b" if bias else "x w", **attributes)], shape=[2, 3], constants=constants)
    assert_same(model, weights(2, 3, seed=3), tmp_path)


def test_one_matrix_used_both_ways(tmp_path: Path) -> None:
    model = model_of(
        [node("Gemm", "x w", "a"), node("Gemm", "a w", "y", transB=1)], shape=["N", 3], constants={"w": weights(3, 3)}
    )
    assert_same(model, weights(2, 3, seed=3), tmp_path)


@pytest.mark.parametrize(
    ("shape", "other"), [((2, 3), (3, 4)), ((2, 5, 3), (3, 4)), ((2, 5, 3), (2, 3, 4)), ((2, 2, 5, 3), (2, 2, 3, 4))]
)
def test_matmul_with_a_constant(tmp_path: Path, shape: tuple[int, ...], other: tuple[int, ...]) -> None:
    model = model_of([node("MatMul", "x w")], shape=["N", *shape[1:]], constants={"w": weights(*other)})
    assert_same(model, weights(*shape, seed=3), tmp_path)


@pytest.mark.parametrize("shape", [(3, 3), (2, 3, 3)])
def test_matmul_of_two_computed_values(tmp_path: Path, shape: tuple[int, ...]) -> None:
    model = model_of([node("Relu", "x", "r"), node("MatMul", "x r")], shape=list(shape))
    assert_same(model, weights(*shape), tmp_path)


def test_local_response_normalization(tmp_path: Path) -> None:
    # By the formula of the operator's documentation, from which onnx's reference evaluator 1.23 departs.
    data = weights(2, 6, 4, 4)
    model = model_of([node("LRN", "x", size=3, alpha=0.1, beta=0.5, bias=2.0)], shape=["N", 6, 4, 4])
    sums = [(data[:, max(0, channel - 1) : channel + 2] ** 2).sum(axis=1) for channel in range(6)]
    expected = data / np.sqrt(2.0 + 0.1 / 3 * np.stack(sums, axis=1))
    np.testing.assert_allclose(run_converted(convert(model, tmp_path), data)[0], expected, rtol=1e-4, atol=1e-6)


def test_instance_normalization(tmp_path: Path) -> None:
    model = model_of(
        [node("InstanceNormalization", "x s b", epsilon=0.001)],
        shape=["N", 3, 4, 4],
        constants={"s": weights(3), "b": weights(3, seed=2)},
    )
    assert_same(model, weights(2, 3, 4, 4, seed=3), tmp_path)


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        (
            [node("Relu", "w", "r"), node("Mul", "x x", "v"), node("Conv", "x v", **K3)],
            "is computed while the model runs",
        ),
        ([node("BatchNormalization", "x v v v v", training_mode=1)], "training_mode is not supported"),
        ([node("ConvTranspose", "x w", pads=[0, 0, 1, 1])], "unequal pads are not supported"),
        ([node("AveragePool", "x", **K3, dilations=[2, 2])], "dilations are not supported"),
        ([node("Conv", "x w", **K3, auto_pad="SAME_UPPER")], "needs an input of known size"),
        ([node("MatMul", "x v")], "factors of rank 4 and 1 are not supported"),
    ],
)
def test_what_mxnet_cannot_do_is_refused(tmp_path: Path, nodes: list[Any], words: str) -> None:
    constants = {"w": weights(2, 2, 3, 3), "v": weights(2)}
    constants = {name: array for name, array in constants.items() if not any(name in item.output for item in nodes)}
    model = model_of(nodes, shape=["N", 2, "H", "W"], constants=constants)
    with pytest.raises(ModelArchiverError, match=words):
        convert(model, tmp_path)
