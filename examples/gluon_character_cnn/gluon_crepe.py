"""Serve the character network of this example. Runs in a worker process. Handler: `gluon_crepe:handle`.

A request is a review, as JSON or as a form: `{"review_title": "Great boots", "review": "They fit."}`.
"""

from pathlib import Path
from typing import Any

import mxnet as mx
from crepe import CATEGORIES, Crepe, encode
from model_handler import ModelHandler

from mms.context import Context


class CharacterCNNService(ModelHandler):
    """Tell which category of products a review belongs to."""

    def initialize(self, context: Context) -> None:
        """Load the network."""
        super().initialize(context)
        gpu_id = context.system_properties["gpu_id"]
        self.device = mx.cpu() if gpu_id is None else mx.gpu(gpu_id)
        self.net = Crepe()
        path = Path(context.system_properties["model_dir"], "crepe.params")
        self.net.load_parameters(str(path), ctx=self.device)
        self.net.hybridize(static_alloc=True)

    def preprocess(self, batch: list[dict[str, Any]]) -> Any:
        """Join title and text of each review, as they were joined in training."""
        texts = []
        for index, request in enumerate(batch):
            body = request.get("body")
            fields = body if isinstance(body, dict) else request
            if not fields.get("review"):
                self.reject(index, "Send a review: a JSON object or a form with the fields review_title and review")
                continue
            texts.append(f"{_text(fields.get('review_title', ''))}|{_text(fields['review'])}")
        return mx.nd.array(encode(texts), self.device) if texts else None

    def inference(self, model_input: Any) -> Any:
        """Compute the probability of every category."""
        return self.net(model_input).softmax().asnumpy()

    def postprocess(self, inference_output: Any) -> list[Any]:
        """Name the likeliest category of each review."""
        return [{"category": CATEGORIES[row.argmax()], "probability": float(row.max())} for row in inference_output]


def _text(value: Any) -> str:
    """Take the text of a JSON value or of a form's field."""
    return value.decode("utf-8", "replace") if isinstance(value, (bytes, bytearray)) else str(value)


_service = CharacterCNNService()


def handle(data: list[dict[str, Any]] | None, context: Context) -> list[Any] | None:
    """Load the model on the first call, which has no data, then classify each batch of reviews."""
    if not _service.initialized:
        _service.initialize(context)
    return None if data is None else _service.handle(data, context)
