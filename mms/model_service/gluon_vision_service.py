"""Image classification with a Gluon network, as in MMS 0.x. Worker process; imports mxnet."""

from collections.abc import Sequence
from typing import Any

import mxnet as mx

from mms.model_service.mxnet_model_service import GluonImperativeBaseService
from mms.model_service.mxnet_vision_service import top_five
from mms.utils.mxnet import image

__all__ = ["GluonImperativeBaseService", "GluonVisionService"]

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Of ImageNet, per channel, for values from 0 to 1."""


class GluonVisionService(GluonImperativeBaseService):
    """Classify one image: resized to the signature's NCHW shape, normalised, answered with five labels."""

    def _preprocess(self, data: Sequence[Any]) -> list[Any]:
        images = []
        for buffer, declared in zip(data, self.signature["inputs"], strict=False):
            height, width = declared["data_shape"][2:]
            pixels = image.resize(image.read(buffer), width, height).astype("float32") / 255
            pixels = image.color_normalize(pixels, mx.nd.array(MEAN), mx.nd.array(STD))
            images.append(image.transform_shape(pixels))
        return images

    def _inference(self, data: list[Any]) -> Any:
        super()._inference(data)
        output = self.net(data[0].as_in_context(self.ctx)).softmax()
        # MXNet computes in the background: wait here, so that an operator's error belongs to this request.
        output.wait_to_read()
        return output

    def _postprocess(self, data: Any) -> list[Any]:
        return top_five(self, data)
