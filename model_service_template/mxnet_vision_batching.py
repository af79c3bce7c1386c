"""Image classification in batches of one fixed size. Runs in a worker process. Handler: `mxnet_vision_batching:handle`.

`mxnet_vision_service` takes batches of any size as well. This one fills up a batch that is not full with black images:
use it for a model that works with one batch size only, or on a GPU, to keep the memory of a single size.
"""

from typing import Any

import numpy as np
from mxnet_vision_service import MXNetVisionService

from mms.context import Context


class MXNetVisionServiceBatching(MXNetVisionService):
    """Classify images, always as many at once as the model was registered with (`batch_size`)."""

    def initialize(self, context: Context) -> None:
        """Load the model for its one batch size."""
        self.padded_size = context.system_properties["batch_size"] or 1
        super().initialize(context)

    def warm_up_sizes(self) -> list[int]:
        """Prepare no other size."""
        return [self.padded_size]

    def stack(self, rows: list[list[Any]]) -> list[Any]:
        """Fill the batch up."""
        self._count = len(rows)
        if not rows:
            return []
        filling = [np.zeros_like(array) for array in rows[0]]
        return super().stack(rows + [filling] * (self.padded_size - len(rows)))

    def inference(self, model_input: list[Any]) -> list[Any]:
        """Run the model, and drop what it said about the filling."""
        return [output[: self._count] for output in super().inference(model_input)]


_service = MXNetVisionServiceBatching()


def handle(data: list[dict[str, Any]] | None, context: Context) -> list[Any] | None:
    """Load the model on the first call, which has no data, then classify each batch of images."""
    if not _service.initialized:
        _service.initialize(context)
    return None if data is None else _service.handle(data, context)
