"""A symbolic network with its parameters, ready to run."""

import ctypes
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np

from mxnet_utils.concatenation import split_concatenations

Shape = tuple[int, ...]

_LOSS_HEADS = {
    "SoftmaxOutput",
    "LinearRegressionOutput",
    "LogisticRegressionOutput",
    "MAERegressionOutput",
    "SVMOutput",
}
"""Layers that take labels, to be trained against, as their second input."""

_MOST_EXECUTORS = 32
_CPU_INFO = Path("/proc/cpuinfo")


class BoundSymbol:
    """A symbol and its parameters on one device, bound once for each set of input shapes that it meets.

    The executors share the parameters, so another batch size costs only the memory of its activations. Binding is
    also what makes MXNet fuse the graph for oneDNN: about three times faster on a CPU than without.
    """

    def __init__(self, symbol: Any, arg_params: dict[str, Any], aux_params: dict[str, Any], device: Any) -> None:
        self.symbol = symbol
        self.device = device
        self._arguments = {name: value.as_in_context(device) for name, value in arg_params.items()}
        self._states = {name: value.as_in_context(device) for name, value in aux_params.items()}
        self._labels = _label_names(symbol)
        self._executors: dict[tuple[tuple[str, Shape], ...], Any] = {}

    def run(self, inputs: Mapping[str, Any]) -> list[Any]:
        """Compute the outputs for arrays (numpy or NDArray) by input name; returns NDArrays, good until the next run.

        Arrays that `inputs` returned are not copied. Waits until the outputs are computed, because MXNet reports an
        error only to those who wait.
        """
        executor = self._executor({name: tuple(value.shape) for name, value in inputs.items()})
        for name, value in inputs.items():
            self._assign(executor.arg_dict[name], value)
        outputs: list[Any] = executor.forward(is_train=False)
        for output in outputs:
            output.wait_to_read()
        return outputs

    def inputs(self, shapes: Mapping[str, Shape]) -> dict[str, Any]:
        """Return float32 numpy arrays of these shapes, by input name, to fill and hand to `run`.

        On a CPU they are the memory that the model reads, which the next call for the same shapes returns again. What
        they hold before they are filled is of no use.
        """
        bound = self._executor(dict(shapes)).arg_dict
        if self.device.device_type == "cpu":
            return {name: _memory(bound[name]) for name in shapes}
        return {name: np.empty(shape, np.float32) for name, shape in shapes.items()}

    def _assign(self, array: Any, value: Any) -> None:
        if self.device.device_type != "cpu" or not isinstance(value, np.ndarray):
            array[:] = value
            return
        memory = _memory(array)
        if memory.__array_interface__ != value.__array_interface__:
            np.copyto(memory, value, casting="unsafe")

    def _executor(self, shapes: dict[str, Shape]) -> Any:
        key = tuple(sorted(shapes.items()))
        if key not in self._executors:
            if len(self._executors) == _MOST_EXECUTORS:
                self._executors.pop(next(iter(self._executors)))
            self._executors[key] = self._bind(shapes)
        return self._executors[key]

    def _bind(self, shapes: dict[str, Shape]) -> Any:
        arg_shapes, _, aux_shapes = self.symbol.infer_shape(**shapes)
        wanted = dict(zip(self.symbol.list_arguments(), arg_shapes, strict=True))
        unknown = sorted(shapes.keys() - wanted.keys())
        if unknown:
            raise ValueError(f"The symbol has no input named {', '.join(unknown)}.")
        made = {name: mx.nd.zeros(shapes[name], self.device) for name in shapes}
        made |= {name: mx.nd.zeros(wanted[name], self.device) for name in self._labels - shapes.keys()}
        states = dict(zip(self.symbol.list_auxiliary_states(), aux_shapes, strict=True))
        _check("parameter", {name: shape for name, shape in wanted.items() if name not in made}, self._arguments)
        _check("auxiliary state", states, self._states)
        return self.symbol.bind(self.device, self._arguments | made, grad_req="null", aux_states=self._states)


def load_symbol(model_dir: Path, prefix: str, epoch: int, device: Any) -> BoundSymbol:
    """Load `<prefix>-symbol.json` and `<prefix>-<epoch, four digits>.params` of a model's folder."""
    for ending in ("-symbol.json", f"-{epoch:04d}.params"):
        if not (model_dir / (prefix + ending)).is_file():
            others = sorted(path.name for path in model_dir.glob(f"*{ending}"))
            raise FileNotFoundError(
                f"The archive has no {prefix}{ending}, only {', '.join(others) or 'other files'}. A model's files bear "
                "its name in the manifest: rename them, or override get_model_files_prefix()."
            )
    symbol, arg_params, aux_params = mx.model.load_checkpoint(str(model_dir / prefix), epoch)
    _check_processor(symbol, device)
    if device.device_type == "cpu":
        symbol, arg_params = split_concatenations(symbol, arg_params)
    return BoundSymbol(symbol, arg_params, aux_params, device)


def _check_processor(symbol: Any, device: Any) -> None:
    """Say in words what MXNet would call a missing primitive descriptor: bf16 on a processor without AVX-512."""
    if device.device_type != "cpu" or '"bfloat16"' not in symbol.tojson(remove_amp_cast=False):
        return
    described = _CPU_INFO.read_text(errors="replace") if _CPU_INFO.is_file() else ""
    if "flags" in described and "avx512bw" not in described:
        raise ValueError("The model computes in bf16, which MXNet can do only on a processor with AVX-512.")


def _memory(array: Any) -> Any:
    """Return the memory of an NDArray on a CPU as a numpy array, once nothing that was started before uses it."""
    library, address = mx.base._LIB, ctypes.c_void_p()
    mx.base.check_call(library.MXNDArrayWaitToWrite(array.handle))
    mx.base.check_call(library.MXNDArrayGetData(array.handle, ctypes.byref(address)))
    values = np.dtype(array.dtype)
    memory = (ctypes.c_char * (array.size * values.itemsize)).from_address(address.value or 0)
    memory.owner = array  # numpy keeps the memory, and so the array
    return np.frombuffer(memory, values).reshape(array.shape)


def _check(kind: str, wanted: Mapping[str, Shape], given: Mapping[str, Any]) -> None:
    """Refuse parameters that do not fit the symbol: MXNet itself would compute with zeros in place of missing ones."""
    missing = [name for name in wanted if name not in given]
    if missing:
        raise ValueError(f"The params file lacks the {kind} {', '.join(missing)} (an input belongs in signature.json).")
    for name, shape in wanted.items():
        if given[name].shape != shape:
            raise ValueError(f"The {kind} {name} has the shape {given[name].shape}; the symbol wants {shape}.")


def _label_names(symbol: Any) -> set[str]:
    """Name the inputs that a network trained with a loss layer has for its labels: prediction does not need them."""
    nodes = json.loads(symbol.tojson())["nodes"]
    return {
        nodes[node["inputs"][1][0]]["name"]
        for node in nodes
        if node["op"] in _LOSS_HEADS and nodes[node["inputs"][1][0]]["op"] == "null"
    }
