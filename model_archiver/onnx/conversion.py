"""The state of one conversion from ONNX to MXNet, as the operator tables see it."""

from collections.abc import Callable, Mapping, Sequence

from model_archiver.errors import ModelArchiverError
from model_archiver.mxnet_files import Array, Output, SymbolGraph
from model_archiver.onnx.graph import OnnxGraph, OnnxNode, Shape


class Unsupported(ModelArchiverError):
    """Raise for an operator whose attributes or inputs have no counterpart; the text says what is wrong."""


class Conversion:
    """Knows which MXNet output stands for which ONNX value, and collects the parameters that are used."""

    def __init__(self, graph: OnnxGraph) -> None:
        self.graph = graph
        self.symbol = SymbolGraph()
        self.arguments: dict[str, Array] = {}
        self.auxiliary: dict[str, Array] = {}
        self._outputs: dict[str, Output] = {}
        self._parameters: dict[str, Output] = {}
        self._node_name = ""
        for item in graph.inputs:
            self._outputs[item.name] = self.symbol.variable(item.name, dtype=item.dtype)

    def run(self, node: OnnxNode, convert: "Converter") -> None:
        """Convert one node and remember what stands for its outputs."""
        self._node_name = node.name
        made = convert(self, node)
        outputs = made if isinstance(made, list) else [made]
        self._outputs.update(zip(node.outputs, outputs, strict=False))

    def heads(self) -> list[Output]:
        """Return the outputs of the model. MXNet wants an operator, so that a mere variable is copied."""
        self._node_name = "output"
        values = [self.value(name) for name in self.graph.outputs]
        return [self.apply("_copy", [item]) if self.symbol.is_variable(item) else item for item in values]

    def apply(self, op: str, inputs: Sequence[Output], **attrs: object) -> Output:
        """Add an MXNet operator, named after the ONNX node."""
        return self.symbol.apply(op, self._node_name, inputs, attrs)

    def value(self, name: str) -> Output:
        """Return what stands for an ONNX value; constants become parameters."""
        if name in self._outputs:
            return self._outputs[name]
        array = self.graph.constants.get(name)
        if array is None:
            raise Unsupported(f"its input {name!r} is an output that is not converted")
        self._refuse_batch_size(name)
        # MXNet's symbols have no scalars.
        return self.parameter(name, array if array.shape else array.reshape((1,)))

    def parameter(self, name: str, array: Array) -> Output:
        """Add `array`, or find it when it was added under this name before."""
        return self._variable(name, array, self.arguments)

    def auxiliary_state(self, name: str) -> Output:
        """Add a constant as an auxiliary state, under a name of its own if it is used as a parameter, too."""
        return self._variable(f"{name}_aux" if name in self.arguments else name, self.constant(name), self.auxiliary)

    def constant(self, name: str) -> Array:
        """Return the content of an input that must be known now."""
        array = self.graph.constants.get(name)
        if array is None:
            raise Unsupported(f"its input {name!r} is computed while the model runs")
        self._refuse_batch_size(name)
        return array

    def target_shape(self, name: str) -> tuple[int, ...]:
        """Return the constant target of a Reshape, in which a 0 keeps the size of that dimension."""
        if name not in self.graph.batch_sizes:
            return self.integers(name)
        sizes = _integers(self.graph.constants[name])
        if 0 in sizes[1:]:
            raise Unsupported("the batch size can only come first")
        return sizes

    def integers(self, name: str) -> tuple[int, ...]:
        """Return a constant input of integers, a scalar as one of them."""
        return _integers(self.constant(name))

    def real(self, name: str) -> float:
        """Return a constant input of one number."""
        value = self.constant(name).reshape((-1,)).tolist()
        if not isinstance(value, list) or len(value) != 1:
            raise Unsupported(f"its input {name!r} is not one number")
        return float(value[0])

    def shape(self, name: str) -> Shape | None:
        """Return the shape of a value, None if not even its rank is known."""
        array = self.graph.constants.get(name)
        return array.shape if array is not None else self.graph.shapes.get(name)

    def rank(self, name: str) -> int:
        shape = self.shape(name)
        if shape is None:
            raise Unsupported(f"the rank of its input {name!r} is not known")
        return len(shape)

    def _refuse_batch_size(self, name: str) -> None:
        if name in self.graph.batch_sizes:
            raise Unsupported(f"its input {name!r} depends on the batch size")

    def _variable(self, name: str, array: Array, kind: dict[str, Array]) -> Output:
        other = self.auxiliary if kind is self.arguments else self.arguments
        while name in other:
            name += "_"
        if name not in self._parameters:
            kind[name] = array
            self._parameters[name] = self.symbol.variable(name, dtype=array.dtype.name, shape=array.shape)
        return self._parameters[name]


def _integers(array: Array) -> tuple[int, ...]:
    values = array.reshape((-1,)).tolist()
    return tuple(int(item) for item in values) if isinstance(values, list) else ()


Converter = Callable[[Conversion, OnnxNode], Output | list[Output]]
Operators = Mapping[str, Converter]
