"""An MXNet network for the option --quantize: read, run and written. Runs in the command line tool."""

import json
from pathlib import Path
from typing import Any

from model_archiver.errors import ModelArchiverError

INSTALL = "pip install 'mxnet-model-server[mxnet]'"
_LOSS_HEADS = {
    "SoftmaxOutput",
    "LinearRegressionOutput",
    "LogisticRegressionOutput",
    "MAERegressionOutput",
    "SVMOutput",
}
"""Layers that take labels, to be trained against, as their second input."""


class NetworkError(Exception):
    """MXNet cannot read, convert or run the network; the message is one line."""


def import_mxnet() -> Any:
    """Import mxnet, mended for current Python and numpy; MXNet's notes about its optimisations are turned off."""
    # The worker's mend stands alone: nothing else of the server is loaded with it.
    from mms.worker import mxnet_compat

    mxnet_compat.install()
    try:
        import mxnet as mx
        import numpy  # noqa: F401  # its absence is told as well as mxnet's
        import PIL  # noqa: F401
    except (ImportError, OSError) as exc:  # OSError: a library of the system that MXNet's own needs
        raise ModelArchiverError(f"--quantize needs MXNet, numpy and Pillow: {INSTALL} ({exc}).") from exc
    if not mx.runtime.Features().is_enabled("MKLDNN"):
        raise ModelArchiverError("--quantize needs an MXNet that was built with oneDNN (MKLDNN); this one was not.")
    mx.util.setenv("MXNET_SUBGRAPH_VERBOSE", "0")
    return mx


class Network:
    """A symbol and its parameters on the CPU. Made for one input; samples may differ in their shapes."""

    def __init__(self, symbol: Any, arguments: dict[str, Any], states: dict[str, Any], *, input_name: str) -> None:
        self.symbol = symbol
        self.arguments = arguments
        self.states = states
        self.input_name = input_name
        self._executors: dict[tuple[int, ...], Any] = {}

    @classmethod
    def read(cls, symbol_file: Path, params_file: Path, *, input_name: str) -> "Network":
        """Read the two files of a model. Raises NetworkError."""
        mx = import_mxnet()
        try:
            symbol = mx.sym.load(str(symbol_file))
            arrays = mx.nd.load(str(params_file))
            named = {kind: {} for kind in ("arg", "aux")}  # type: dict[str, dict[str, Any]]
            for key, value in arrays.items():
                kind, _, name = key.partition(":")
                named[kind][name] = value
        except (mx.MXNetError, ValueError, KeyError, AttributeError) as exc:
            raise NetworkError(f"MXNet cannot read the model's files: {first_line(exc)}") from exc
        return cls(symbol, named["arg"], named["aux"], input_name=input_name)

    def write(self, symbol_file: Path, params_file: Path) -> None:
        """Write the two files of a model."""
        mx = import_mxnet()
        # Without the argument MXNet drops the casts, and what it writes is the network in fp32 again.
        self.symbol.save(str(symbol_file), remove_amp_cast=False)
        arrays = {f"arg:{name}": value for name, value in self.arguments.items()}
        arrays |= {f"aux:{name}": value for name, value in self.states.items()}
        mx.nd.save(str(params_file), arrays)

    def with_symbol(self, symbol: Any) -> "Network":
        """Return another network on the same parameters."""
        return Network(symbol, self.arguments, self.states, input_name=self.input_name)

    def nodes(self) -> list[dict[str, Any]]:
        """Return the operators of the symbol, in the order in which they run."""
        nodes: list[dict[str, Any]] = json.loads(self.symbol.tojson(remove_amp_cast=False))["nodes"]
        return [node for node in nodes if node["op"] != "null"]

    def convolutions(self) -> dict[str, dict[str, str]]:
        """Return each convolution's attributes as MXNet writes them, with the names of its `input` and its `weight`."""
        inner = self.symbol.get_internals()
        found = {}
        for node in self.nodes():
            if node["op"] == "Convolution":
                names = inner[f"{node['name']}_output"].get_children().list_outputs()
                found[node["name"]] = {**node["attrs"], "input": names[0], "weight": names[1]}
        return found

    def run(self, sample: Any) -> list[Any]:
        """Compute the outputs, numpy arrays with a batch of one, for one sample without batch. Raises NetworkError."""
        mx = import_mxnet()
        try:
            executor = self._executor((1, *sample.shape))
            executor.arg_dict[self.input_name][:] = sample[None]
            return [output.asnumpy() for output in executor.forward(is_train=False)]
        except (mx.MXNetError, ValueError, TypeError) as exc:
            raise NetworkError(f"MXNet cannot run the network: {first_line(exc)}") from exc

    def _executor(self, shape: tuple[int, ...]) -> Any:
        if shape not in self._executors:
            self._executors.clear()  # one is enough: samples of one shape mostly come one after the other
            self._executors[shape] = self._bind(shape)
        return self._executors[shape]

    def _bind(self, shape: tuple[int, ...]) -> Any:
        mx = import_mxnet()
        names, states = self.symbol.list_arguments(), self.symbol.list_auxiliary_states()
        if self.input_name not in names:
            raise ValueError(f"the symbol has no input named {self.input_name}, which signature.json names")
        shapes, _, _ = self.symbol.infer_shape(**{self.input_name: shape})
        wanted = dict(zip(names, shapes, strict=True))
        made = {name: mx.nd.zeros(wanted[name]) for name in {self.input_name, *self._label_names()}}
        missing = [name for name in names if name not in made and name not in self.arguments]
        missing += [name for name in states if name not in self.states]
        if missing:
            raise ValueError(f"the params file lacks {', '.join(missing)}")
        return self.symbol.bind(mx.cpu(), self.arguments | made, grad_req="null", aux_states=self.states)

    def _label_names(self) -> set[str]:
        nodes = json.loads(self.symbol.tojson())["nodes"]
        labels = (nodes[node["inputs"][1][0]] for node in nodes if node["op"] in _LOSS_HEADS)
        return {node["name"] for node in labels if node["op"] == "null"}


def first_line(error: Exception) -> str:
    """Return what MXNet says, without its stack trace."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return lines[-1] if lines[0].startswith("Traceback") else lines[0]
