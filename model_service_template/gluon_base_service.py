"""A base for handlers of Gluon networks that classify images. Runs in a worker process.

Say what the network is, then use it as a handler:

    import mxnet as mx
    from gluon_base_service import GluonBaseService

    class AlexNet(GluonBaseService):
        def initialize(self, context):
            self.net = mx.gluon.model_zoo.vision.alexnet()
            self.param_filename = "alexnet.params"
            super().initialize(context)

    _service = AlexNet()

    def handle(data, context):
        if not _service.initialized:
            _service.initialize(context)
        return None if data is None else _service.predict(data)
"""

from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
from model_handler import ModelHandler
from mxnet_utils import image, ndarray
from mxnet_utils.signature import find_input, load_labels, load_signature

from mms.context import Context

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
"""Of ImageNet's pixels, red, green and blue: what the networks of Gluon's model zoo were trained with."""


class GluonBaseService(ModelHandler):
    """Classify images with `net`, a network whose input is NCHW and whose output is one score a class.

    The archive holds signature.json, synset.txt and, if `param_filename` names it, the file of the parameters.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net: Any = None
        self.param_filename: str | None = None
        """A file written by `net.save_parameters()`; None if `initialize` fills the network in another way."""
        self.model_name: str | None = None
        self.ctx: Any = None
        self.signature: dict[str, Any] = {}
        self.labels: list[str] | None = None

    def initialize(self, context: Context) -> None:
        """Load the parameters, compile the network if it is hybrid, and run it once."""
        if self.net is None:
            raise NotImplementedError("Gluon network not defined")
        super().initialize(context)
        model_dir = Path(context.system_properties["model_dir"])
        gpu_id = context.system_properties["gpu_id"]
        self.model_name = context.model_name
        self.ctx = mx.cpu() if gpu_id is None else mx.gpu(gpu_id)
        self.signature = load_signature(model_dir)
        self.labels = load_labels(model_dir) or self.labels
        if self.labels is None:
            raise FileNotFoundError("Missing synset.txt file.")
        if self.param_filename is not None:
            path = model_dir / self.param_filename
            if not path.is_file():
                raise FileNotFoundError(f"Parameter file not found {path}")
            self.net.load_parameters(str(path), ctx=self.ctx)
        self._warm_up()

    def preprocess(self, batch: list[dict[str, Any]]) -> Any:
        """Decode, resize and normalize the images; an empty, broken or huge one is rejected, the others go on."""
        pixels = []
        for index, request in enumerate(batch):
            try:
                pixels.append(self.transform(image.read(find_input(request, self.signature))))
            except image.ImageError as exc:
                self.reject(index, str(exc))
        return mx.nd.array(np.stack(pixels), self.ctx) if pixels else None

    def transform(self, picture: Any) -> Any:
        """Turn a decoded picture (NDArray, height x width x 3) into the network's input: float32 (3, height, width)."""
        height, width = self.signature["inputs"][0]["data_shape"][2:]
        resized = image.resize(picture, width, height, interp=1).asnumpy()
        return ((resized.astype(np.float32) / 255 - MEAN) / STD).transpose(2, 0, 1)

    def inference(self, model_input: Any) -> Any:
        """Compute the probability of every class, as an NDArray (batch, classes)."""
        probabilities = self.net(model_input).softmax()
        probabilities.wait_to_read()  # MXNet reports an error only to those who wait
        return probabilities

    def postprocess(self, inference_output: Any) -> list[Any]:
        """Name the five likeliest classes of each image."""
        rows = inference_output.asnumpy()
        return [ndarray.top_probability(row, self.labels or [], top=5) for row in rows[:, np.newaxis]]

    def predict(self, data: list[dict[str, Any]]) -> list[Any]:
        """Answer one batch, with the context of the first call."""
        return self.handle(data, self._context)

    def _warm_up(self) -> None:
        shape = [length or 1 for length in self.signature["inputs"][0]["data_shape"]]
        sample = mx.nd.zeros((self._batch_size, *shape[1:]), self.ctx)
        if isinstance(self.net, mx.gluon.HybridBlock):
            if self.ctx.device_type == "cpu":  # fused for oneDNN: about twice as fast
                self.net.optimize_for(sample, backend="MKLDNN", static_alloc=True, static_shape=True)
            else:
                self.net.hybridize(static_alloc=True, static_shape=True)
        self.net(sample).wait_to_read()
