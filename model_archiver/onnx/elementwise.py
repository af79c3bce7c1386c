"""ONNX operators that compute every element by itself, or reduce. Runs in the command line tool, for --convert."""

from functools import reduce

from model_archiver.mxnet_files import Output
from model_archiver.onnx.conversion import Conversion, Converter, Operators, Unsupported
from model_archiver.onnx.graph import OnnxNode

_LARGEST_FLOAT = 3.4028234663852886e38
_CAST = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64"}


def _unary(op: str, **attrs: object) -> Converter:
    return lambda to, node: to.apply(op, [to.value(node.input(0))], **attrs)


def _binary(op: str) -> Converter:
    return lambda to, node: to.apply(op, [to.value(node.input(0)), to.value(node.input(1))])


def _fold(op: str) -> Converter:
    return lambda to, node: reduce(lambda left, right: to.apply(op, [left, right]), map(to.value, node.inputs))


def _identity(to: Conversion, node: OnnxNode) -> Output:
    return to.value(node.input(0))


def _mean(to: Conversion, node: OnnxNode) -> Output:
    total = _fold("broadcast_add")(to, node)
    assert isinstance(total, Output)
    return to.apply("_div_scalar", [total], scalar=float(len(node.inputs)))


def _leaky(act_type: str, slope: float) -> Converter:
    def convert(to: Conversion, node: OnnxNode) -> Output:
        return to.apply("LeakyReLU", [to.value(node.input(0))], act_type=act_type, slope=node.real("alpha", slope))

    return convert


def _prelu(to: Conversion, node: OnnxNode) -> Output:
    # max(x, 0) - slope * max(-x, 0): broadcasts as ONNX wants, whereas MXNet's own operator wants a slope a channel.
    data, slope = to.value(node.input(0)), to.value(node.input(1))
    negative = to.apply("relu", [to.apply("negative", [data])])
    return to.apply("broadcast_sub", [to.apply("relu", [data]), to.apply("broadcast_mul", [slope, negative])])


def _hard_sigmoid(to: Conversion, node: OnnxNode) -> Output:
    alpha, beta = node.real("alpha", 0.2), node.real("beta", 0.5)
    return to.apply("hard_sigmoid", [to.value(node.input(0))], alpha=alpha, beta=beta)


def _hard_swish(to: Conversion, node: OnnxNode) -> Output:
    data = to.value(node.input(0))
    return to.apply("broadcast_mul", [data, to.apply("hard_sigmoid", [data], alpha=1 / 6, beta=0.5)])


def _clip(to: Conversion, node: OnnxNode) -> Output:
    low = to.real(node.input(1)) if node.input(1) else node.real("min", -_LARGEST_FLOAT)
    high = to.real(node.input(2)) if node.input(2) else node.real("max", _LARGEST_FLOAT)
    # Infinity is not a number that MXNet's parser of parameters reads.
    low, high = max(low, -_LARGEST_FLOAT), min(high, _LARGEST_FLOAT)
    return to.apply("clip", [to.value(node.input(0))], a_min=low, a_max=high)


def _cast(to: Conversion, node: OnnxNode) -> Output:
    number = node.integer("to", 1)
    if number not in _CAST:
        raise Unsupported(f"data type {number} is not supported")
    return to.apply("Cast", [to.value(node.input(0))], dtype=_CAST[number])


def _softmax(op: str) -> Converter:
    def convert(to: Conversion, node: OnnxNode) -> Output:
        data = to.value(node.input(0))
        if to.graph.opset >= 13:
            return to.apply(op, [data], axis=node.integer("axis", -1))
        # Before opset 13 everything from the axis on was one dimension.
        axis = node.integer("axis", 1)
        if axis != 1:
            rank = to.rank(node.input(0))
            axis = axis + rank if axis < 0 else axis
            if axis == rank - 1:
                return to.apply(op, [data], axis=-1)
        if axis != 1:
            raise Unsupported(f"axis {axis} is not supported in opset {to.graph.opset}")
        flat = to.apply(op, [to.apply("Flatten", [data])], axis=-1)
        return to.apply("reshape_like", [flat, data])

    return convert


def _reduction(op: str, **attrs: object) -> Converter:
    def convert(to: Conversion, node: OnnxNode) -> Output:
        axes = to.integers(node.input(1)) if node.input(1) else node.integers("axes") or ()
        data = to.value(node.input(0))
        if not axes and node.integer("noop_with_empty_axes", 0):
            return data
        axes = axes or tuple(range(to.rank(node.input(0))))
        return to.apply(op, [data], axis=axes, keepdims=bool(node.integer("keepdims", 1)), **attrs)

    return convert


ELEMENTWISE: Operators = {
    "Abs": _unary("abs"),
    "Add": _binary("broadcast_add"),
    "Cast": _cast,
    "Ceil": _unary("ceil"),
    "Clip": _clip,
    "Cos": _unary("cos"),
    "Div": _binary("broadcast_div"),
    "Dropout": _identity,
    "Elu": _leaky("elu", 1.0),
    "Erf": _unary("erf"),
    "Exp": _unary("exp"),
    "Floor": _unary("floor"),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "Identity": _identity,
    "LeakyRelu": _leaky("leaky", 0.01),
    "Log": _unary("log"),
    "LogSoftmax": _softmax("log_softmax"),
    "Max": _fold("broadcast_maximum"),
    "Mean": _mean,
    "Min": _fold("broadcast_minimum"),
    "Mul": _binary("broadcast_mul"),
    "Neg": _unary("negative"),
    "PRelu": _prelu,
    "Pow": _binary("broadcast_power"),
    "Reciprocal": _unary("reciprocal"),
    "ReduceL2": _reduction("norm", ord=2),
    "ReduceMax": _reduction("max"),
    "ReduceMean": _reduction("mean"),
    "ReduceMin": _reduction("min"),
    "ReduceProd": _reduction("prod"),
    "ReduceSum": _reduction("sum"),
    "Relu": _unary("Activation", act_type="relu"),
    "Sigmoid": _unary("Activation", act_type="sigmoid"),
    "Sin": _unary("sin"),
    "Softmax": _softmax("softmax"),
    "Softplus": _unary("Activation", act_type="softrelu"),
    "Softsign": _unary("Activation", act_type="softsign"),
    "Sqrt": _unary("sqrt"),
    "Sub": _binary("broadcast_sub"),
    "Sum": _fold("broadcast_add"),
    "Tanh": _unary("Activation", act_type="tanh"),
}
