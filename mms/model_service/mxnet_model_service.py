"""MXNet services of MMS 0.x: a symbol with its parameters, or a Gluon network. Worker process; imports mxnet."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mxnet as mx

from mms.model_service.model_service import ModelService, SingleNodeService, read_signature

__all__ = ["GluonImperativeBaseService", "MXNetBaseService", "ModelService", "SingleNodeService", "check_input_shape"]

logger = logging.getLogger(__name__)


def check_input_shape(inputs: list[Any], signature: dict[str, Any]) -> None:
    """Compare NDArrays with the signature; AssertionError for another number, rank or shape.

    The first dimension, the batch, may be any; so may every dimension that is 0 in the signature.
    """
    if not isinstance(inputs, list):
        raise AssertionError("Input data must be a list.")
    declared = signature["inputs"]
    if len(inputs) != len(declared):
        raise AssertionError(f"Input number mismatches with signature. {len(declared)} expected but got {len(inputs)}.")
    for value, expected in zip(inputs, declared, strict=True):
        if not isinstance(value, mx.nd.NDArray):
            raise AssertionError("Each input must be NDArray.")
        name, shape = expected["data_name"], expected["data_shape"]
        if len(value.shape) != len(shape):
            raise AssertionError(
                f"Shape dimension of input {name} mismatches with signature. "
                f"{len(shape)} expected but got {len(value.shape)}."
            )
        if any(want not in (0, got) for want, got in zip(shape[1:], value.shape[1:], strict=True)):
            raise AssertionError(
                f"Input {name} has different shape with signature. {shape} expected but got {value.shape}."
            )


class _LabelledService(SingleNodeService):
    """What both kinds of MXNet service share: device, signature, labels."""

    def __init__(self, model_name: str, model_dir: str, manifest: dict[str, Any], gpu: int | None = None) -> None:
        super().__init__(model_name, model_dir, manifest, gpu)
        self.model_name = model_name
        self.param_filename: str | None = manifest["Model"].get("Parameters")
        self.ctx = mx.cpu() if gpu is None else mx.gpu(int(gpu))
        self._signature = read_signature(model_dir, manifest)
        synset = Path(model_dir, "synset.txt")
        if synset.is_file():
            self.labels = [line.strip() for line in synset.read_text(encoding="utf-8").splitlines()]

    def ping(self) -> str:
        """Return the version of MXNet."""
        return str(mx.__version__)

    @property
    def signature(self) -> Any:
        """The signature as a dict. MMS: a method in ModelService, a property here."""
        return self._signature


class MXNetBaseService(_LabelledService):
    """Serve a symbol and its parameters; `mx_model` is a bound `mx.mod.Module` of batch size 1."""

    def __init__(self, model_name: str, model_dir: str, manifest: dict[str, Any], gpu: int | None = None) -> None:
        super().__init__(model_name, model_dir, manifest, gpu)
        shapes = [
            (declared["data_name"], (1, *(size or 1 for size in declared["data_shape"][1:])))
            for declared in self._signature["inputs"]
        ]
        symbol_file = Path(model_dir, manifest["Model"]["Symbol"])
        symbol = mx.sym.load(str(symbol_file))
        arguments, auxiliary = _load_parameters(_parameters_file(symbol_file, self.param_filename))
        _warn_of_missing(symbol, {*arguments, *auxiliary, *(name for name, _ in shapes)})
        self.mx_model = mx.mod.Module(
            symbol=symbol, context=self.ctx, data_names=[name for name, _ in shapes], label_names=None
        )
        self.mx_model.bind(for_training=False, data_shapes=shapes)
        self.mx_model.set_params(arguments, auxiliary, allow_missing=True, allow_extra=True)

    def _preprocess(self, data: Sequence[Any]) -> list[Any]:
        return [mx.nd.array(value) for value in data]

    def _inference(self, data: list[Any]) -> list[Any]:
        check_input_shape(data, self.signature)
        self.mx_model.forward(mx.io.DataBatch([value.as_in_context(self.ctx) for value in data]))
        outputs: list[Any] = self.mx_model.get_outputs()
        # MXNet computes in the background: wait here, so that an operator's error belongs to this request.
        for output in outputs:
            output.wait_to_read()
        return outputs

    def _postprocess(self, data: Sequence[Any]) -> list[Any]:
        return [str(output.asnumpy().tolist()) for output in data]


class GluonImperativeBaseService(_LabelledService):
    """Serve the Gluon network `net`, with the parameters that the manifest names if it names any."""

    def __init__(
        self, model_name: str, model_dir: str, manifest: dict[str, Any], net: Any = None, gpu: int | None = None
    ) -> None:
        super().__init__(model_name, model_dir, manifest, gpu)
        self.net = net
        parameters = Path(model_dir, self.param_filename or "")
        if net is None or not parameters.is_file():
            logger.info("No parameters file given for this imperative service")
            return
        net.load_parameters(str(parameters), ctx=self.ctx)

    def _preprocess(self, data: Any) -> Any:
        return None

    def _inference(self, data: list[Any]) -> Any:
        """Check the inputs; a service calls this first, then its network."""
        check_input_shape(data, self.signature)

    def _postprocess(self, data: Any) -> Any:
        return None


def _parameters_file(symbol_file: Path, name: str | None) -> Path:
    """Return the file that the manifest names, or else the one that MXNet puts beside the symbol for epoch 0."""
    if name and (symbol_file.parent / name).is_file():
        return symbol_file.parent / name
    prefix = re.sub(r"-symbol\.json$", "", symbol_file.name)
    return symbol_file.with_name(f"{prefix}-0000.params")


def _load_parameters(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return arguments and auxiliary states by name."""
    saved = mx.nd.load(str(path))
    kinds: dict[str, dict[str, Any]] = {"arg": {}, "aux": {}}
    for key in saved:
        kind, _, name = str(key).partition(":")
        if kind not in kinds:
            raise ValueError(f"{path.name} holds no parameters of a symbol: their names start with arg: or aux:.")
        kinds[kind][name] = saved[key]
    return kinds["arg"], kinds["aux"]


def _warn_of_missing(symbol: Any, known: set[str]) -> None:
    # Module fills them with zeros without a word, and then serves nonsense. Labels are needed for training only.
    names = [*symbol.list_arguments(), *symbol.list_auxiliary_states()]
    missing = [name for name in names if name not in known and not name.endswith("label")]
    if missing:
        logger.warning("The parameters file lacks %s: zeros are used instead.", ", ".join(missing))
