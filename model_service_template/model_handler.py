"""The base of the handlers in this folder: what happens to a batch, step by step. Runs in a worker process.

Copy the folder's files into the folder of your model, then override the steps that are different for your model:

    from model_handler import ModelHandler

    class Shout(ModelHandler):
        def preprocess(self, batch):
            return [request["body"] for request in batch]

        def postprocess(self, inference_output):
            return [text.upper() for text in inference_output]

    _service = Shout()

    def handle(data, context):
        if not _service.initialized:
            _service.initialize(context)
        return None if data is None else _service.handle(data, context)
"""

from http import HTTPStatus
from typing import Any

from mms.context import Context

_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class ModelHandler:
    """Answer batches in three steps: preprocess, inference, postprocess.

    An exception in any step fails the whole batch: the server logs it and answers 503 "Prediction failed".
    What is wrong with one request alone is said with `reject`; the others in its batch are answered.
    """

    def __init__(self) -> None:
        self.initialized = False
        self.error: str | None = None
        """Set by a step to answer this text to every request of the batch, instead of going on."""
        self._context: Context
        self._batch_size = 0
        self._rejected: dict[int, str] = {}

    def initialize(self, context: Context) -> None:
        """Load the model. Called once, when the worker starts; an exception here fails the load.

        `context.system_properties` has `model_dir`, `gpu_id` (None on a CPU) and `batch_size` (the most requests
        that one batch may have), `context.manifest` is the archive's manifest.
        """
        self._context = context
        self._batch_size = context.system_properties["batch_size"] or 1
        self.initialized = True

    def preprocess(self, batch: list[dict[str, Any]]) -> Any:
        """Turn the requests, less those that it rejects, into the input of the model.

        A request is a dict: form fields and files by name, any other body as `body`.
        """
        return batch

    def inference(self, model_input: Any) -> Any:
        """Run the model. Not called when every request was rejected."""
        return model_input

    def postprocess(self, inference_output: Any) -> list[Any]:
        """Turn the model's output into one answer for each request that was not rejected, in order.

        An answer is bytes, a str, or anything that `json.dumps` takes.
        """
        return ["OK"] * (self._batch_size - len(self._rejected))

    def reject(self, index: int, message: str, status: int = 400) -> None:
        """Answer request number `index` of the batch with `status` and `message`. Called by `preprocess`."""
        self._rejected[index] = message
        self._context.set_response_status(status, _PHRASES.get(status, ""), index)
        self._context.set_response_content_type(index, "text/plain")

    def handle(self, data: list[dict[str, Any]], context: Context) -> list[Any]:
        """Answer one batch: a list of as many answers as `data` has requests."""
        self._context = context
        self._batch_size = len(data)
        self._rejected = {}
        self.error = None
        model_input = self.preprocess(data)
        if self.error is not None:
            return [self.error] * len(data)
        answers: dict[int, Any] = dict(self._rejected)
        accepted = [index for index in range(len(data)) if index not in answers]
        if accepted:
            output = self.inference(model_input)
            answers.update(zip(accepted, self.postprocess(output), strict=True))
        return [answers[index] for index in range(len(data))]
