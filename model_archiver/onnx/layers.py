"""ONNX operators with windows or weights, in MXNet's terms. Runs in the command line tool, for --convert."""

from collections.abc import Sequence

from model_archiver.mxnet_files import Output
from model_archiver.onnx.conversion import Conversion, Converter, Operators, Unsupported
from model_archiver.onnx.graph import OnnxNode

LOWEST_FLOAT = -3.4028234663852886e38

Sizes = tuple[int, ...]


def _conv(to: Conversion, node: OnnxNode) -> Output:
    weight = to.constant(node.input(1))
    kernel = weight.shape[2:]
    strides = node.integers("strides") or (1,) * len(kernel)
    dilations = node.integers("dilations") or (1,) * len(kernel)
    begin, end = _pads(to, node, kernel, strides, dilations)
    data = to.value(node.input(0))
    if begin != end:
        data = pad_window(to, data, begin, end, 0.0)
        begin = (0,) * len(kernel)
    return to.apply(
        "Convolution",
        [data, *(to.value(name) for name in node.inputs[1:] if name)],
        kernel=kernel,
        stride=strides,
        dilate=dilations,
        pad=begin,
        num_filter=weight.shape[0],
        num_group=node.integer("group", 1),
        no_bias=not node.input(2),
    )


def _conv_transpose(to: Conversion, node: OnnxNode) -> Output:
    weight = to.constant(node.input(1))
    kernel, group = weight.shape[2:], node.integer("group", 1)
    pads = node.integers("pads") or (0,) * 2 * len(kernel)
    begin, end = pads[: len(kernel)], pads[len(kernel) :]
    if begin != end or node.text("auto_pad", "NOTSET") != "NOTSET" or node.integers("output_shape"):
        raise Unsupported("auto_pad, output_shape and unequal pads are not supported")
    return to.apply(
        "Deconvolution",
        [to.value(name) for name in node.inputs if name],
        kernel=kernel,
        stride=node.integers("strides") or (1,) * len(kernel),
        dilate=node.integers("dilations") or (1,) * len(kernel),
        pad=begin,
        adj=node.integers("output_padding") or (0,) * len(kernel),
        num_filter=weight.shape[1] * group,
        num_group=group,
        no_bias=not node.input(2),
    )


def _batch_norm(to: Conversion, node: OnnxNode) -> Output:
    if node.integer("training_mode", 0):
        raise Unsupported("training_mode is not supported")
    inputs = [to.value(name) for name in node.inputs[:3]] + [to.auxiliary_state(name) for name in node.inputs[3:5]]
    eps, momentum = node.real("epsilon", 1e-5), node.real("momentum", 0.9)
    return to.apply("BatchNorm", inputs, eps=eps, momentum=momentum, fix_gamma=False)


def _max_pool(to: Conversion, node: OnnxNode) -> Output:
    if any(item != 1 for item in node.integers("dilations") or ()):
        raise Unsupported("dilations are not supported")
    kernel, strides, begin, end = _window(to, node)
    data = to.value(node.input(0))
    if begin != end:
        data = pad_window(to, data, begin, end, LOWEST_FLOAT)
        begin = (0,) * len(kernel)
    return _pool(to, node, data, kernel=kernel, stride=strides, pad=begin, pool_type="max")


def _average_pool(to: Conversion, node: OnnxNode) -> Output:
    if any(item != 1 for item in node.integers("dilations") or ()):
        raise Unsupported("dilations are not supported")
    kernel, strides, begin, end = _window(to, node)
    data, include = to.value(node.input(0)), bool(node.integer("count_include_pad", 0))
    window: dict[str, object] = {"kernel": kernel, "stride": strides, "pool_type": "avg"}
    if begin == end:
        return _pool(to, node, data, pad=begin, count_include_pad=include, **window)
    none = (0,) * len(kernel)
    padded = pad_window(to, data, begin, end, 0.0)
    pooled = _pool(to, node, padded, pad=none, count_include_pad=True, **window)
    if include:
        return pooled
    # MXNet pads both sides alike. Averaged with the padding, a field of ones says how much of each window is real.
    ones = pad_window(to, to.apply("ones_like", [data]), begin, end, 0.0)
    share = _pool(to, node, ones, pad=none, count_include_pad=True, **window)
    return to.apply("broadcast_div", [pooled, share])


def _pool(to: Conversion, node: OnnxNode, data: Output, **attrs: object) -> Output:
    convention = "full" if node.integer("ceil_mode", 0) else "valid"
    return to.apply("Pooling", [data], pooling_convention=convention, **attrs)


def _global_pool(pool_type: str) -> Converter:
    def convert(to: Conversion, node: OnnxNode) -> Output:
        shape = to.shape(node.input(0))
        kernel = (1,) * (len(shape) - 2 if shape else 2)  # where the rank is not known: it will be images
        return to.apply("Pooling", [to.value(node.input(0))], global_pool=True, kernel=kernel, pool_type=pool_type)

    return convert


def _gemm(to: Conversion, node: OnnxNode) -> Output:
    alpha, beta = node.real("alpha", 1.0), node.real("beta", 1.0)
    trans_a, trans_b = bool(node.integer("transA", 0)), bool(node.integer("transB", 0))
    weight = to.graph.constants.get(node.input(1))
    if weight is not None and not trans_a and alpha == 1.0:
        product = _dense(to, node, transposed=trans_b)
    else:
        factors = [to.value(node.input(0)), to.value(node.input(1))]
        product = to.apply("dot", factors, transpose_a=trans_a, transpose_b=trans_b)
        product = product if alpha == 1.0 else to.apply("_mul_scalar", [product], scalar=alpha)
    if not node.input(2) or beta == 0.0:
        return product
    bias = to.value(node.input(2))
    bias = bias if beta == 1.0 else to.apply("_mul_scalar", [bias], scalar=beta)
    return to.apply("broadcast_add", [product, bias])


def _matmul(to: Conversion, node: OnnxNode) -> Output:
    right = to.rank(node.input(1))
    # A factor of unknown rank comes from a Reshape or the like; a vector there would be the exception.
    if right == 2 and node.input(1) in to.graph.constants and len(to.shape(node.input(0)) or (None, None)) > 1:
        return _dense(to, node, transposed=False)
    left = to.rank(node.input(0))
    factors = [to.value(node.input(0)), to.value(node.input(1))]
    if left == right == 2:
        return to.apply("dot", factors)
    if left == right:
        return to.apply("linalg_gemm2", factors)
    raise Unsupported(f"factors of rank {left} and {right} are not supported")


def _dense(to: Conversion, node: OnnxNode, *, transposed: bool) -> Output:
    """Multiply by a constant matrix, which MXNet wants as (outputs, inputs): `transposed` says that it is so."""
    name = node.input(1)
    array = to.constant(name)
    weight = to.value(name) if transposed else to.parameter(f"{name}_transposed", array.T)
    units = array.shape[0] if transposed else array.shape[1]
    data = to.value(node.input(0))
    return to.apply("FullyConnected", [data, weight], num_hidden=units, no_bias=True, flatten=False)


def _lrn(to: Conversion, node: OnnxNode) -> Output:
    return to.apply(
        "LRN",
        [to.value(node.input(0))],
        alpha=node.real("alpha", 1e-4),
        beta=node.real("beta", 0.75),
        knorm=node.real("bias", 1.0),
        nsize=node.integer("size", 1),
    )


def _instance_norm(to: Conversion, node: OnnxNode) -> Output:
    return to.apply("InstanceNorm", [to.value(name) for name in node.inputs], eps=node.real("epsilon", 1e-5))


def pad_window(to: Conversion, data: Output, begin: Sequence[int], end: Sequence[int], value: float) -> Output:
    """Pad the dimensions behind batch and channel."""
    width = [size for pair in zip(begin, end, strict=True) for size in pair]
    if len(begin) == 1:  # MXNet pads two or three dimensions
        wide = to.apply("expand_dims", [data], axis=2)
        padded = to.apply("Pad", [wide], mode="constant", constant_value=value, pad_width=[0] * 6 + width)
        return to.apply("squeeze", [padded], axis=2)
    if min(width) < 0 or len(begin) > 3:
        raise Unsupported("this padding is not supported")
    return to.apply("Pad", [data], mode="constant", constant_value=value, pad_width=[0] * 4 + width)


def _window(to: Conversion, node: OnnxNode) -> tuple[Sizes, Sizes, Sizes, Sizes]:
    """Return kernel, strides and the padding before and after."""
    kernel = node.integers("kernel_shape") or ()
    strides = node.integers("strides") or (1,) * len(kernel)
    return kernel, strides, *_pads(to, node, kernel, strides, (1,) * len(kernel))


def _pads(to: Conversion, node: OnnxNode, kernel: Sizes, strides: Sizes, dilations: Sizes) -> tuple[Sizes, Sizes]:
    mode = node.text("auto_pad", "NOTSET")
    if mode == "NOTSET":
        pads = node.integers("pads") or (0,) * 2 * len(kernel)
        return pads[: len(kernel)], pads[len(kernel) :]
    if mode == "VALID":
        return (0,) * len(kernel), (0,) * len(kernel)
    shape = to.shape(node.input(0)) or ()
    smaller, larger = [], []
    for size, width, stride, dilation in zip(shape[2:], kernel, strides, dilations, strict=False):
        if size is None:
            raise Unsupported(f"auto_pad {mode} needs an input of known size")
        total = max(0, (-(-size // stride) - 1) * stride + (width - 1) * dilation + 1 - size)
        smaller.append(total // 2)
        larger.append(total - total // 2)
    if len(smaller) != len(kernel):
        raise Unsupported(f"auto_pad {mode} needs an input of known size")
    return (tuple(smaller), tuple(larger)) if mode == "SAME_UPPER" else (tuple(larger), tuple(smaller))


LAYERS: Operators = {
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pool("avg"),
    "GlobalMaxPool": _global_pool("max"),
    "InstanceNormalization": _instance_norm,
    "LRN": _lrn,
    "MatMul": _matmul,
    "MaxPool": _max_pool,
}
