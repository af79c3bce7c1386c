"""Read an ONNX file into plain data. The only place that imports onnx; runs in the command line tool, for --convert.

What can be computed now is computed now (with ONNX's own reference evaluator), so that chains such as
Shape, Gather, Concat, Reshape become one Reshape, also where the batch size is not known.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from model_archiver.errors import ModelArchiverError
from model_archiver.mxnet_files import Array

if TYPE_CHECKING:
    import onnx

_OLDEST_OPSET = 7  # earlier ones broadcast by other rules
_NEVER_COMPUTED = ("If", "Loop", "Scan", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial")
# Operators that only pick, join or retype sizes, so that a 0 for "the batch size" keeps its meaning.
_MOVES_SIZES = ("Cast", "Concat", "Gather", "Identity", "Slice", "Squeeze", "Unsqueeze")

Shape = tuple[int | None, ...]
"""None for a dimension that is not known before the model runs."""


@dataclass(frozen=True, slots=True)
class OnnxNode:
    """One operator. Missing optional inputs are empty names."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, object]

    def input(self, index: int) -> str:
        return self.inputs[index] if index < len(self.inputs) else ""

    def integer(self, name: str, default: int) -> int:
        value = self.attributes.get(name, default)
        return value if isinstance(value, int) else default

    def real(self, name: str, default: float) -> float:
        value = self.attributes.get(name, default)
        return float(value) if isinstance(value, int | float) else default

    def text(self, name: str, default: str) -> str:
        value = self.attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else default

    def integers(self, name: str) -> tuple[int, ...] | None:
        value = self.attributes.get(name)
        return tuple(int(item) for item in value) if isinstance(value, list | tuple) else None


@dataclass(frozen=True, slots=True)
class OnnxInput:
    """What the caller feeds."""

    name: str
    shape: Shape
    dtype: str


@dataclass(frozen=True, slots=True)
class OnnxGraph:
    """A model: its operators in running order, its weights and what else is constant."""

    opset: int
    nodes: tuple[OnnxNode, ...]
    inputs: tuple[OnnxInput, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, Array]
    batch_sizes: frozenset[str]
    """Constants of which a 0 stands for the size of the first dimension, as it does in the target of a Reshape."""
    shapes: Mapping[str, Shape]
    """Of the values whose rank is known."""
    external_files: frozenset[str]
    """Names, relative to the model's folder, of files that hold weights."""


def read_onnx(path: Path) -> OnnxGraph:
    """Read an ONNX file with its external weights; raises `ModelArchiverError` if that fails or onnx is missing."""
    try:
        import onnx
    except ModuleNotFoundError as exc:
        raise ModelArchiverError("Onnx package is not installed. Run command: pip install onnx to install it.") from exc
    decode_error: type[Exception] = import_module("google.protobuf.message").DecodeError
    try:
        model = onnx.load(str(path), load_external_data=False)
        external = {
            entry.value
            for tensor in model.graph.initializer
            for entry in tensor.external_data
            if entry.key == "location"
        }
        onnx.load_external_data_for_model(model, str(path.parent))
    except (decode_error, onnx.checker.ValidationError, ValueError) as exc:
        raise ModelArchiverError(
            f"Failed to load the {path.name} model. Verify if the model file is valid: {exc}"
        ) from exc
    if not model.graph.output:
        raise ModelArchiverError(
            f"Failed to load the {path.name} model. Verify if the model file is valid: it has no outputs."
        )
    opset = max((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), default=1)
    if opset < _OLDEST_OPSET:
        raise ModelArchiverError(
            f"{path.name} uses ONNX opset {opset}. Bring it to {_OLDEST_OPSET} or later with onnx.version_converter."
        )
    return _graph(model, opset, frozenset(external))


def _graph(model: "onnx.ModelProto", opset: int, external_files: frozenset[str]) -> OnnxGraph:
    import onnx

    constants: dict[str, Array] = {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
    inputs = tuple(_input(item) for item in model.graph.input if item.name not in constants)
    known = _Known(opset, constants, _shapes(model))
    nodes = tuple(_node(proto) for proto in model.graph.node if not known.compute(proto))
    return OnnxGraph(
        opset=opset,
        nodes=nodes,
        inputs=inputs,
        outputs=tuple(item.name for item in model.graph.output),
        constants=known.constants,
        batch_sizes=frozenset(known.batch_sizes),
        shapes=known.shapes,
        external_files=external_files,
    )


def _shapes(model: "onnx.ModelProto") -> dict[str, Shape]:
    import onnx

    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, ValueError):  # ValueError: over 2 GB, protobuf's limit
        graph = model.graph
    values = [*graph.input, *graph.value_info, *graph.output]
    shapes = {item.name: _shape(item) for item in values if item.type.tensor_type.HasField("shape")}
    return shapes | {item.name: tuple(item.dims) for item in graph.initializer}


def _shape(value: "onnx.ValueInfoProto") -> Shape:
    dimensions = value.type.tensor_type.shape.dim
    return tuple(item.dim_value if item.HasField("dim_value") and item.dim_value > 0 else None for item in dimensions)


def _input(value: "onnx.ValueInfoProto") -> OnnxInput:
    import onnx

    dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name
    return OnnxInput(value.name, _shape(value), dtype)


def _node(proto: "onnx.NodeProto") -> OnnxNode:
    import onnx

    op = proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}.{proto.op_type}"
    attributes = {item.name: onnx.helper.get_attribute_value(item) for item in proto.attribute}
    name = proto.name or next((item for item in proto.output if item), proto.op_type)
    return OnnxNode(op, name, tuple(proto.input), tuple(proto.output), attributes)


class _Known:
    """What is known before the model runs."""

    def __init__(self, opset: int, constants: dict[str, Array], shapes: Mapping[str, Shape]) -> None:
        self._opset = opset
        self.constants = constants
        self.shapes = shapes
        self.batch_sizes: set[str] = set()

    def compute(self, proto: "onnx.NodeProto") -> bool:
        """Add the outputs of a node that does not depend on the model's input; return whether that was so."""
        from onnx.reference import ReferenceEvaluator

        if proto.domain not in ("", "ai.onnx") or proto.op_type in _NEVER_COMPUTED:
            return False
        feeds = self._shape_feed(proto) or {name: self.constants.get(name) for name in proto.input if name}
        if any(value is None for value in feeds.values()) or not (feeds or proto.op_type == "Constant"):
            return False
        if not self.batch_sizes.isdisjoint(proto.input) and proto.op_type not in _MOVES_SIZES:
            return False
        try:
            values = ReferenceEvaluator(_model_of(proto, feeds, self._opset)).run(None, feeds)
        except (NotImplementedError, RuntimeError, TypeError, ValueError):
            return False  # then the operator itself is converted, or named as not supported
        self.constants.update(zip(filter(None, proto.output), values, strict=True))
        of_unknown = proto.op_type == "Shape" and self.shapes[proto.input[0]][:1] == (None,)
        if of_unknown or not self.batch_sizes.isdisjoint(proto.input):
            self.batch_sizes.update(proto.output)
        return True

    def _shape_feed(self, proto: "onnx.NodeProto") -> dict[str, Array | None] | None:
        """Return something of the right shape for the operator Shape, with 0 for a batch size that is not known."""
        shape = self.shapes.get(proto.input[0]) if proto.op_type == "Shape" else None
        if shape is None or None in shape[1:]:
            return None
        import numpy as np

        return {proto.input[0]: np.broadcast_to(np.float32(0), [size or 0 for size in shape])}


def _model_of(proto: "onnx.NodeProto", feeds: Mapping[str, object], opset: int) -> "onnx.ModelProto":
    """Wrap a node in a model: given only the node, the evaluator takes it for one of the newest opset."""
    import onnx

    inputs = [onnx.ValueInfoProto(name=name) for name in feeds]
    outputs = [onnx.ValueInfoProto(name=name) for name in proto.output if name]
    graph = onnx.helper.make_graph([proto], "node", inputs, outputs)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
