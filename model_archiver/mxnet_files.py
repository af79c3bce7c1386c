"""The two files of an MXNet model, `NAME-symbol.json` and `NAME-0000.params`, written without MXNet.

Runs in the command line tool, for --convert. MXNet's last release does not import on current numpy by itself, and
both formats are small: the symbol is the JSON of nnvm, and the parameters are what `mx.nd.save` writes
(mxnet:src/ndarray/ndarray.cc, NDArray::Save), little endian throughout:

    u64 0x112 | u64 0 | u64 number of arrays | arrays | u64 number of names | names
    array: u32 0xF993FAC9 | i32 storage type 0 (dense) | u32 rank | i64 for each dimension
           | i32 device type 1 (CPU) | i32 device 0 | i32 data type | content
    name:  u64 length | bytes, "arg:" or "aux:" in front
"""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from model_archiver.errors import ModelArchiverError

_LIST_MAGIC = 0x112
_ARRAY_MAGIC = 0xF993FAC9
_DATA_TYPES = {"float32": 0, "float64": 1, "float16": 2, "uint8": 3, "int32": 4, "int8": 5, "int64": 6, "bool": 7}
_MXNET_VERSION = 10901


class DataType(Protocol):
    """The part of `numpy.dtype` that is used here."""

    @property
    def name(self) -> str: ...


class Array(Protocol):
    """The part of `numpy.ndarray` that the conversion uses, so that nothing but the ONNX reader imports numpy."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> DataType: ...
    @property
    def T(self) -> "Array": ...  # noqa: N802  # numpy's name
    def __mul__(self, factor: float, /) -> "Array": ...
    def astype(self, dtype: object, /) -> "Array": ...
    def reshape(self, shape: Sequence[int], /) -> "Array": ...
    def tobytes(self) -> bytes: ...
    def tolist(self) -> object: ...


@dataclass(frozen=True, slots=True)
class Output:
    """One output of a node of the symbol."""

    node: int
    index: int = 0


class SymbolGraph:
    """A symbol that is being built. Nodes are added in the order in which they run."""

    def __init__(self) -> None:
        self._nodes: list[dict[str, object]] = []
        self._names: set[str] = set()

    def variable(self, name: str, *, dtype: str = "float32", shape: Sequence[int] | None = None) -> Output:
        """Add an input or a parameter. MXNet cannot tell every parameter's shape by itself, so give it."""
        attrs = {"__dtype__": str(data_type_number(dtype))}
        if shape is not None:
            attrs["__shape__"] = str(tuple(shape))
        return self._add("null", name, [], attrs)

    def apply(self, op: str, name: str, inputs: Sequence[Output], attrs: Mapping[str, object]) -> Output:
        """Add an operator; where `name` is taken, a number is put behind it."""
        unique, number = name, 0
        while unique in self._names:
            number += 1
            unique = f"{name}_{number}"
        return self._add(op, unique, inputs, {key: _attribute(value) for key, value in attrs.items()})

    def is_variable(self, output: Output) -> bool:
        return self._nodes[output.node]["op"] == "null"

    def dump(self, heads: Sequence[Output]) -> str:
        """Write the symbol with `heads` as its outputs."""
        document = {
            "nodes": self._nodes,
            "arg_nodes": [number for number, node in enumerate(self._nodes) if node["op"] == "null"],
            "heads": [[head.node, head.index, 0] for head in heads],
            "attrs": {"mxnet_version": ["int", _MXNET_VERSION]},
        }
        return json.dumps(document, indent=2)

    def _add(self, op: str, name: str, inputs: Sequence[Output], attrs: dict[str, str]) -> Output:
        self._names.add(name)
        entries = [[item.node, item.index, 0] for item in inputs]
        self._nodes.append({"op": op, "name": name, "attrs": attrs, "inputs": entries})
        return Output(len(self._nodes) - 1)


def write_params(path: Path, arguments: Mapping[str, Array], auxiliary: Mapping[str, Array]) -> None:
    """Write parameters and auxiliary states (the running averages of BatchNorm)."""
    named = {f"arg:{name}": array for name, array in arguments.items()}
    named |= {f"aux:{name}": array for name, array in auxiliary.items()}
    with path.open("wb") as file:
        file.write(struct.pack("<QQQ", _LIST_MAGIC, 0, len(named)))
        for array in named.values():
            rank, data_type = len(array.shape), data_type_number(array.dtype.name)
            file.write(struct.pack(f"<IiI{rank}q", _ARRAY_MAGIC, 0, rank, *array.shape))
            file.write(struct.pack("<iii", 1, 0, data_type))
            file.write(array.tobytes())
        file.write(struct.pack("<Q", len(named)))
        for name in named:
            encoded = name.encode()
            file.write(struct.pack("<Q", len(encoded)) + encoded)


def data_type_number(name: str) -> int:
    """Return MXNet's number for a numpy data type."""
    if name not in _DATA_TYPES:
        raise ModelArchiverError(f"MXNet has no data type {name}.")
    return _DATA_TYPES[name]


def _attribute(value: object) -> str:
    return str(tuple(value)) if isinstance(value, list) else str(value)
