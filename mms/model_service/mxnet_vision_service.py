"""Image classification with a symbol, as in MMS 0.x. Worker process; imports mxnet."""

from collections.abc import Sequence
from typing import Any

from mms.model_service.mxnet_model_service import MXNetBaseService
from mms.utils.mxnet import image, ndarray

__all__ = ["MXNetVisionService", "top_five"]


class MXNetVisionService(MXNetBaseService):
    """Classify one image: decoded, resized to the signature's NCHW shape, answered with the five likeliest labels."""

    def _preprocess(self, data: Sequence[Any]) -> list[Any]:
        images = []
        for buffer, declared in zip(data, self.signature["inputs"], strict=False):
            height, width = declared["data_shape"][2:]
            pixels = image.resize(image.read(buffer), width, height)
            images.append(image.transform_shape(pixels))
        return images

    def _postprocess(self, data: Sequence[Any]) -> list[Any]:
        return top_five(self, data)


def top_five(service: Any, outputs: Sequence[Any]) -> list[Any]:
    """Return the five likeliest labels for each output; AssertionError for a service without labels."""
    if not hasattr(service, "labels"):
        raise AssertionError(
            "Can't find labels attribute. Did you put synset.txt file into model archive "
            "or manually load class label file in __init__?"
        )
    return [ndarray.top_probability(output, service.labels, top=5) for output in outputs]
