"""A handler for image classification: JPEG or PNG in, the five likeliest classes out. Runs in a worker process.

Its archive is that of `mxnet_model_service` with the names of the classes in synset.txt. Handler:
`mxnet_vision_service:handle`.
"""

from typing import Any

import numpy as np
from mxnet_model_service import MXNetModelService
from mxnet_utils import image, ndarray
from mxnet_utils.signature import find_input

from mms.context import Context


class MXNetVisionService(MXNetModelService):
    """Classify images with a model whose input is NCHW: float32, RGB, 0 to 255.

    Override `transform` for a model that was trained on pixels prepared in another way.
    """

    def preprocess(self, batch: list[dict[str, Any]]) -> list[Any]:
        """Decode and resize the images; an empty, broken or huge one is rejected, the others go on."""
        pixels = []
        for index, request in enumerate(batch):
            try:
                pixels.append([self.transform(image.read(find_input(request, self.signature)))])
            except image.ImageError as exc:
                self.reject(index, str(exc))
        return self.stack(pixels)

    def transform(self, picture: Any) -> Any:
        """Turn a decoded picture (NDArray, height x width x 3) into the model's input: (3, height, width).

        It becomes float32 when it is put into the batch.
        """
        height, width = self.signature["inputs"][0]["data_shape"][2:]
        return image.resize(picture, width, height).asnumpy().transpose(2, 0, 1)

    def postprocess(self, inference_output: list[Any]) -> list[Any]:
        """Name the five likeliest classes of each image; by their numbers, if the archive has no synset.txt."""
        rows = inference_output[0].asnumpy()
        labels = self.labels or [str(number) for number in range(rows.shape[1])]
        return [ndarray.top_probability(row, labels, top=5) for row in rows[:, np.newaxis]]


_service = MXNetVisionService()


def handle(data: list[dict[str, Any]] | None, context: Context) -> list[Any] | None:
    """Load the model on the first call, which has no data, then classify each batch of images."""
    if not _service.initialized:
        _service.initialize(context)
    return None if data is None else _service.handle(data, context)
