"""A handler for any symbolic MXNet model: loads it by its name and answers JSON arrays. Runs in a worker process.

The archive of a model named `mlp` holds `mlp-symbol.json`, `mlp-0000.params` and `signature.json`:

    {"inputs": [{"data_name": "data", "data_shape": [0, 4]}]}

The first dimension is the batch, whatever number stands there; another 0 is a dimension of any length.
Handler: `mxnet_model_service:handle`.
"""

import json
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
from model_handler import ModelHandler
from mxnet_utils.bound_symbol import BoundSymbol, load_symbol
from mxnet_utils.engine import compute_in_this_thread
from mxnet_utils.signature import check_input_shape, find_input, fits, load_labels, load_signature

from mms.context import Context


class MXNetModelService(ModelHandler):
    """Run a symbol on the arrays that the requests hold. Override `preprocess` and `postprocess` for other data."""

    def __init__(self) -> None:
        super().__init__()
        self.mxnet_ctx: Any = None
        """The device: `mx.cpu()` or the GPU that the server chose for this worker."""
        self.mx_model: BoundSymbol
        self.signature: dict[str, Any] = {}
        self.labels: list[str] | None = None
        """The names of the classes, if the archive has a synset.txt."""
        self.epoch = 0

    def get_model_files_prefix(self, context: Context) -> str:
        """Say what the model's files are named after: the model's name in the manifest."""
        manifest = context.manifest or {}
        return str(manifest.get("model", {}).get("modelName") or context.model_name)

    def initialize(self, context: Context) -> None:
        """Load the model, bind it and run it once, so that no client waits for that."""
        super().initialize(context)
        model_dir = Path(context.system_properties["model_dir"])
        gpu_id = context.system_properties["gpu_id"]
        self.mxnet_ctx = mx.cpu() if gpu_id is None else mx.gpu(gpu_id)
        if gpu_id is None:
            compute_in_this_thread()
        self.signature = load_signature(model_dir)
        self.labels = load_labels(model_dir) or self.labels
        self.mx_model = load_symbol(model_dir, self.get_model_files_prefix(context), self.epoch, self.mxnet_ctx)
        for size in self.warm_up_sizes():
            shapes = {entry["data_name"]: entry["data_shape"][1:] for entry in self.signature["inputs"]}
            self.mx_model.run(
                {name: np.zeros((size, *(length or 1 for length in shape))) for name, shape in shapes.items()}
            )

    def warm_up_sizes(self) -> list[int]:
        """Say for which batch sizes to prepare the model at load; any other is prepared when it first comes."""
        return sorted({self._batch_size, 1}, reverse=True)

    def preprocess(self, batch: list[dict[str, Any]]) -> list[Any]:
        """Turn JSON arrays into one float32 array for each input of the signature, one row a request.

        A request with an array of the wrong shape, or with anything but finite numbers, is rejected.
        """
        rows = []
        for index, request in enumerate(batch):
            try:
                rows.append([self._read_array(request, number) for number in range(len(self.signature["inputs"]))])
            except (TypeError, ValueError) as exc:
                self.reject(index, str(exc))
        return self.stack(rows)

    def stack(self, rows: list[list[Any]]) -> list[Any]:
        """Put arrays, one for each request and input, together: one array an input, with one row a request.

        On a CPU that is the memory which the model reads, and the next batch is put there, too.
        """
        if not rows:
            return []
        check_input_shape([array[np.newaxis] for array in rows[0]], self.signature)
        names = [entry["data_name"] for entry in self.signature["inputs"]]
        shapes = [(len(rows), *array.shape) for array in rows[0]]
        stacked = self.mx_model.inputs(dict(zip(names, shapes, strict=True)))
        columns = zip(*rows, strict=True)
        return [np.stack(column, out=stacked[name]) for name, column in zip(names, columns, strict=True)]

    def inference(self, model_input: list[Any]) -> list[Any]:
        """Compute the outputs, as NDArrays, for the inputs in the signature's order."""
        check_input_shape(model_input, self.signature)
        names = [entry["data_name"] for entry in self.signature["inputs"]]
        return self.mx_model.run(dict(zip(names, model_input, strict=True)))

    def postprocess(self, inference_output: list[Any]) -> list[Any]:
        """Give every request its row of the output; a list with its row of each, where the model has several."""
        rows = zip(*(output.asnumpy().tolist() for output in inference_output), strict=True)
        return [list(row) if len(row) > 1 else row[0] for row in rows]

    def _read_array(self, request: dict[str, Any], number: int) -> Any:
        name = self.signature["inputs"][number]["data_name"]
        wanted = self.signature["inputs"][number]["data_shape"][1:]
        value = find_input(request, self.signature, number)
        if value is None:
            raise ValueError(f"Input {name} is missing")
        if isinstance(value, (bytes, bytearray, str)):
            value = json.loads(value)
        with np.errstate(over="ignore"):  # becomes infinity, which is told below
            array = np.asarray(value, np.float32)
        if not fits(array.shape, wanted):
            raise ValueError(f"Input {name} must have the shape {tuple(wanted)}, not {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"Input {name} has values that are not finite")
        return array


_service = MXNetModelService()


def handle(data: list[dict[str, Any]] | None, context: Context) -> list[Any] | None:
    """Load the model on the first call, which has no data, then answer each batch."""
    if not _service.initialized:
        _service.initialize(context)
    return None if data is None else _service.handle(data, context)
