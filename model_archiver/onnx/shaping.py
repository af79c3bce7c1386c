"""ONNX operators that move elements and compute nothing. Runs in the command line tool, for --convert."""

from model_archiver.mxnet_files import Output
from model_archiver.onnx.conversion import Conversion, Operators, Unsupported
from model_archiver.onnx.graph import OnnxNode

_TO_THE_END = 2**31 - 1  # exporters write this, or a larger number, for "up to the end"


def _concat(to: Conversion, node: OnnxNode) -> Output:
    values = [to.value(name) for name in node.inputs]
    return to.apply("Concat", values, dim=node.integer("axis", 0), num_args=len(values))


def _flatten(to: Conversion, node: OnnxNode) -> Output:
    axis, data = node.integer("axis", 1), to.value(node.input(0))
    axis = axis + to.rank(node.input(0)) if axis < 0 else axis
    if axis == 1:
        return to.apply("Flatten", [data])
    if axis > 2:
        raise Unsupported(f"axis {axis} is not supported")
    return to.apply("Reshape", [data], shape=(-3, -1) if axis == 2 else (1, -1))  # -3: two dimensions become one


def _reshape(to: Conversion, node: OnnxNode) -> Output:
    shape = to.target_shape(node.input(1))
    if node.integer("allowzero", 0) and 0 in shape:
        raise Unsupported("dimensions of size 0 are not supported")
    return to.apply("Reshape", [to.value(node.input(0))], shape=shape or (1,))


def _transpose(to: Conversion, node: OnnxNode) -> Output:
    axes = node.integers("perm") or tuple(reversed(range(to.rank(node.input(0)))))
    return to.apply("transpose", [to.value(node.input(0))], axes=axes)


def _squeeze(to: Conversion, node: OnnxNode) -> Output:
    axes = to.integers(node.input(1)) if node.input(1) else node.integers("axes")
    data = to.value(node.input(0))
    return to.apply("squeeze", [data], axis=axes) if axes else to.apply("squeeze", [data])


def _unsqueeze(to: Conversion, node: OnnxNode) -> Output:
    axes = to.integers(node.input(1)) if node.input(1) else node.integers("axes") or ()
    if any(axis < 0 for axis in axes):
        rank = to.rank(node.input(0)) + len(axes)
        axes = tuple(axis % rank for axis in axes)
    data = to.value(node.input(0))
    for axis in sorted(axes):
        data = to.apply("expand_dims", [data], axis=axis)
    return data


def _slice(to: Conversion, node: OnnxNode) -> Output:
    if node.input(1):
        starts, ends = to.integers(node.input(1)), to.integers(node.input(2))
        axes = to.integers(node.input(3)) if node.input(3) else tuple(range(len(starts)))
        steps = to.integers(node.input(4)) if node.input(4) else (1,) * len(starts)
    else:
        starts, ends = node.integers("starts") or (), node.integers("ends") or ()
        axes, steps = node.integers("axes") or tuple(range(len(starts))), (1,) * len(starts)
    if any(step != 1 for step in steps):
        raise Unsupported("steps other than 1 are not supported")
    data = to.value(node.input(0))
    for axis, start, end in zip(axes, starts, ends, strict=True):
        stop = None if end >= _TO_THE_END else end
        data = to.apply("slice_axis", [data], axis=axis, begin=start, end=stop)
    return data


def _split(to: Conversion, node: OnnxNode) -> list[Output]:
    axis, data = node.integer("axis", 0), to.value(node.input(0))
    sizes = to.integers(node.input(1)) if node.input(1) else node.integers("split")
    if sizes is None:
        shape = to.shape(node.input(0))
        size = shape[axis] if shape is not None else None
        if size is None:
            raise Unsupported("the size of the split axis is not known")
        part = -(-size // len(node.outputs))
        sizes = tuple(min(part, size - start) for start in range(0, size, part))
    pieces, start = [], 0
    for size in sizes:
        pieces.append(to.apply("slice_axis", [data], axis=axis, begin=start, end=start + size))
        start += size
    return pieces


def _gather(to: Conversion, node: OnnxNode) -> Output:
    indices, axis = to.constant(node.input(1)), node.integer("axis", 0)
    data = to.value(node.input(0))
    numbers = to.integers(node.input(1))
    if indices.shape:
        if any(number < 0 for number in numbers):
            raise Unsupported("negative indices are not supported")
        return to.apply("take", [data, to.value(node.input(1))], axis=axis)
    stop = numbers[0] + 1 or None
    return to.apply("squeeze", [to.apply("slice_axis", [data], axis=axis, begin=numbers[0], end=stop)], axis=axis)


def _pad(to: Conversion, node: OnnxNode) -> Output:
    pads = to.integers(node.input(1)) if node.input(1) else node.integers("pads") or ()
    value = to.real(node.input(2)) if node.input(2) else node.real("value", 0.0)
    if node.input(3):
        pads = _pads_of_all_axes(pads, to.integers(node.input(3)), to.rank(node.input(0)))
    data, half = to.value(node.input(0)), len(pads) // 2
    if not any(pads):
        return data
    if half not in (4, 5) or any(pads[:2] + pads[half : half + 2]) or min(pads) < 0:
        raise Unsupported("only the last two of four or three of five dimensions can be padded, with sizes from 0 on")
    width = [size for pair in zip(pads[:half], pads[half:], strict=True) for size in pair]
    mode = node.text("mode", "constant")
    if mode not in ("constant", "edge", "reflect"):
        raise Unsupported(f"mode {mode} is not supported")
    return to.apply("Pad", [data], mode=mode, pad_width=width, constant_value=value)


def _pads_of_all_axes(pads: tuple[int, ...], axes: tuple[int, ...], rank: int) -> tuple[int, ...]:
    result = [0] * 2 * rank
    for number, axis in enumerate(axes):
        result[axis % rank] = pads[number]
        result[axis % rank + rank] = pads[number + len(axes)]
    return tuple(result)


def _resize(to: Conversion, node: OnnxNode) -> Output:
    if node.text("mode", "nearest") != "nearest":
        raise Unsupported("only mode nearest is supported")
    scale = _scale(to, node)
    position = node.text("coordinate_transformation_mode", "half_pixel")
    rounding = node.text("nearest_mode", "round_prefer_floor")
    # The combinations in which every element is repeated, which is what MXNet's operator does.
    repeats = (
        node.op == "Upsample"
        or (position == "asymmetric" and (rounding == "floor" or (scale == 2 and rounding == "round_prefer_floor")))
        or (position in ("half_pixel", "pytorch_half_pixel") and rounding.startswith("round_prefer"))
    )
    if not repeats:
        raise Unsupported(f"{position} with {rounding} is not supported")
    return to.apply("UpSampling", [to.value(node.input(0))], scale=scale, sample_type="nearest", num_args=1)


def _scale(to: Conversion, node: OnnxNode) -> int:
    """Return the one whole factor by which height and width grow."""
    scales: list[float] = []
    shape = to.shape(node.input(0)) or ()
    name = node.input(1 if node.op == "Upsample" else 2)
    if node.op == "Upsample" and not name:
        scales = [float(item) for item in _numbers(node.attributes.get("scales"))]
    elif name and to.constant(name).shape != (0,):
        scales = [float(item) for item in _numbers(to.constant(name).tolist())]
    elif node.input(3):
        sizes = to.integers(node.input(3))
        # Batch and channel may be unknown; what matters is that they stay as they are.
        scales = [1.0 if old is None else new / old for new, old in zip(sizes, shape, strict=True)]
        if None in shape[2:]:
            raise Unsupported("the size of its input is not known")
    if len(scales) != 4 or scales[:2] != [1.0, 1.0] or scales[2] != scales[3] or not scales[2].is_integer():
        raise Unsupported("only height and width of four dimensions can grow, by the same whole number")
    return int(scales[2])


def _numbers(value: object) -> list[int | float]:
    items = value if isinstance(value, list | tuple) else []
    return [item for item in items if isinstance(item, int | float)]


def _depth_to_space(to: Conversion, node: OnnxNode) -> Output:
    if node.text("mode", "DCR") != "DCR":
        raise Unsupported("only mode DCR is supported")
    return to.apply("depth_to_space", [to.value(node.input(0))], block_size=node.integer("blocksize", 1))


SHAPING: Operators = {
    "Concat": _concat,
    "DepthToSpace": _depth_to_space,
    "Flatten": _flatten,
    "Gather": _gather,
    "Pad": _pad,
    "Reshape": _reshape,
    "Resize": _resize,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Upsample": _resize,
}
