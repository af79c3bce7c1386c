"""Operators that move elements, compared with ONNX's reference evaluator."""

from pathlib import Path
from typing import Any

import pytest

np = pytest.importorskip("numpy")
pytest.importorskip("onnx")

from model_archiver.errors import ModelArchiverError  # noqa: E402

from .models import assert_same, convert, model_of, node, weights  # noqa: E402  # after the skip

LARGEST = np.iinfo(np.int64).max


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        ([node("Concat", "x x", axis=1)], {}),
        ([node("Concat", "x c", axis=-1)], {"c": weights(2, 3, 4, 1)}),
        ([node("Flatten", "x")], {}),
        ([node("Flatten", "x", axis=0)], {}),
        ([node("Flatten", "x", axis=2)], {}),
        ([node("Flatten", "x", axis=-2)], {}),
        ([node("Reshape", "x s")], {"s": np.array([0, -1])}),
        ([node("Reshape", "x s")], {"s": np.array([2, 4, 3, 6])}),
        ([node("Transpose", "x")], {}),
        ([node("Transpose", "x", perm=[0, 2, 3, 1])], {}),
        ([node("Unsqueeze", "x a", "u"), node("Squeeze", "u a")], {"a": np.array([1, -1])}),
        ([node("Unsqueeze", "x a", "u"), node("Squeeze", "u")], {"a": np.array([0])}),
        ([node("Slice", "x b e a")], {"b": np.array([1, 0]), "e": np.array([LARGEST, -1]), "a": np.array([3, 2])}),
        ([node("Slice", "x b e")], {"b": np.array([0, 1]), "e": np.array([2, 3])}),
        ([node("Split", "x s", "a b", axis=1), node("Concat", "b a", axis=1)], {"s": np.array([1, 2])}),
        ([node("Split", "x", "a b", axis=3), node("Sub", "a b")], {}),
        ([node("Gather", "x i", axis=1)], {"i": np.array([2, 0])}),
        ([node("Gather", "x i", axis=2)], {"i": np.array(1)}),
        ([node("Gather", "x i", axis=2)], {"i": np.array(-1)}),
        ([node("Pad", "x p v")], {"p": np.array([0, 0, 1, 2, 0, 0, 0, 3]), "v": np.float32(7)}),
        ([node("Pad", "x p")], {"p": np.array([0] * 8)}),
        ([node("Pad", "x p", mode="reflect")], {"p": np.array([0, 0, 1, 2, 0, 0, 0, 3])}),
        ([node("Pad", "x p", mode="edge")], {"p": np.array([0, 0, 1, 2, 0, 0, 0, 3])}),
    ],
)
def test_shaping(tmp_path: Path, nodes: list[Any], constants: dict[str, Any]) -> None:
    assert_same(model_of(nodes, shape=[2, 3, 4, 6], constants=constants), weights(2, 3, 4, 6, seed=4), tmp_path)


@pytest.mark.parametrize(
    ("nodes", "opset"),
    [
        ([node("Slice", "x", starts=[1], ends=[3], axes=[2])], 9),
        ([node("Split", "x", "a b", axis=1, split=[1, 2]), node("Concat", "b a", axis=1)], 11),
        ([node("Unsqueeze", "x", "u", axes=[1]), node("Squeeze", "u", axes=[1])], 11),
        ([node("Pad", "x", pads=[0, 0, 1, 1, 0, 0, 1, 1], value=2.0)], 7),
        ([node("Constant", "", "c", value_ints=[0, -1]), node("Reshape", "x c")], 13),
    ],
)
def test_attributes_of_older_opsets(tmp_path: Path, nodes: list[Any], opset: int) -> None:
    model = model_of(nodes, shape=["N", 3, 4, 6], opset=opset)
    for item in model.graph.node:
        if item.op_type == "Constant":
            del item.input[:]
    assert_same(model, weights(2, 3, 4, 6), tmp_path)


def by_batch_size(*nodes: Any, shape: tuple[int | str, ...] = ("N", 3, 4)) -> Any:
    constants = {"first": np.array([0]), "rest": np.array([-1]), "two": np.array([2])}
    return model_of(
        [node("Shape", "x", "shape"), node("Gather", "shape first", "n"), *nodes], shape=shape, constants=constants
    )


@pytest.mark.parametrize("batch", [1, 5])
def test_reshape_by_the_batch_size(tmp_path: Path, batch: int) -> None:
    model = by_batch_size(node("Concat", "n rest", "target", axis=0), node("Reshape", "x target"))
    assert_same(model, weights(batch, 3, 4), tmp_path)


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([node("Concat", "rest n", "target", axis=0), node("Reshape", "x target")], "can only come first"),
        ([node("Mul", "n two", "m"), node("Reshape", "x m")], "depends on the batch size"),
        ([node("Cast", "n", "f", to=1), node("Div", "x f")], "depends on the batch size"),
    ],
)
def test_no_other_use_of_the_batch_size(tmp_path: Path, nodes: list[Any], words: str) -> None:
    with pytest.raises(ModelArchiverError, match=words):
        convert(by_batch_size(*nodes), tmp_path)


def test_pads_of_some_axes(tmp_path: Path) -> None:
    constants = {"p": np.array([1, 2, 3, 4]), "a": np.array([2, -1])}
    model = model_of([node("Pad", "x p - a")], shape=["N", 3, 4, 6], constants=constants, opset=18)
    assert_same(model, weights(2, 3, 4, 6), tmp_path)


@pytest.mark.parametrize(
    "attributes",
    [
        {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
        {"coordinate_transformation_mode": "half_pixel"},
        {},
    ],
)
@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize("by", ["scales", "sizes"])
def test_resize_by_whole_factors(tmp_path: Path, attributes: dict[str, str], factor: int, by: str) -> None:
    constants = {"s": np.array([1, 1, factor, factor], "float32"), "n": np.array([1, 3, 4 * factor, 5 * factor])}
    inputs = "x - s" if by == "scales" else "x - - n"
    used = {name: array for name, array in constants.items() if name in inputs.split()}
    model = model_of([node("Resize", inputs, **attributes)], shape=[1, 3, 4, 5], constants=used)
    assert_same(model, weights(1, 3, 4, 5), tmp_path)


def test_upsample(tmp_path: Path) -> None:
    model = model_of(
        [node("Upsample", "x s")], shape=["N", 3, 4, 5], opset=9, constants={"s": np.array([1, 1, 2, 2], "float32")}
    )
    data = weights(2, 3, 4, 5)
    from .models import run_converted

    expected = data.repeat(2, axis=2).repeat(2, axis=3)
    np.testing.assert_array_equal(run_converted(convert(model, tmp_path), data)[0], expected)


def test_depth_to_space(tmp_path: Path) -> None:
    assert_same(model_of([node("DepthToSpace", "x", blocksize=2)], shape=["N", 8, 2, 3]), weights(2, 8, 2, 3), tmp_path)


def test_the_input_and_a_constant_may_be_outputs(tmp_path: Path) -> None:
    model = model_of(
        [node("Identity", "x", "a"), node("Identity", "c", "b")],
        shape=["N", 3],
        constants={"c": weights(2)},
        outputs=["a", "b"],
    )
    assert_same(model, weights(2, 3), tmp_path)


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([node("Flatten", "x", axis=3)], "axis 3 is not supported"),
        ([node("Reshape", "x v", allowzero=1)], "dimensions of size 0"),
        ([node("Slice", "x v v v v")], "steps other than 1"),
        ([node("Split", "x", "a b", axis=2), node("Add", "a b")], "size of the split axis is not known"),
        ([node("Gather", "x w")], "negative indices"),
        ([node("Pad", "x p")], "only the last two"),
        ([node("Pad", "x q", mode="wrap")], "mode wrap is not supported"),
        ([node("Resize", "x - s", mode="linear")], "only mode nearest"),
        ([node("Resize", "x - s", coordinate_transformation_mode="align_corners")], "align_corners with"),
        ([node("Resize", "x - h")], "by the same whole number"),
        ([node("DepthToSpace", "x", blocksize=2, mode="CRD")], "only mode DCR"),
    ],
)
def test_what_mxnet_cannot_do_is_refused(tmp_path: Path, nodes: list[Any], words: str) -> None:
    constants = {
        "v": np.array([0]),
        "w": np.array([-1, 0]),
        "p": np.array([1, 0, 0, 0, 0, 0, 0, 0]),
        "q": np.array([0, 0, 1, 0, 0, 0, 0, 0]),
        "s": np.array([1, 1, 2, 2], "float32"),
        "h": np.array([1, 1, 1.5, 1.5], "float32"),
    }
    with pytest.raises(ModelArchiverError, match=words):
        convert(model_of(nodes, shape=["N", 4, "H", 6], constants=constants, opset=19), tmp_path)
