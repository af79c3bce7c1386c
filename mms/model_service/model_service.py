"""The root of all MMS 0.x services: input by signature, then pre-process, infer, post-process. Worker process."""

import ast
import json
import logging
import time
from pathlib import Path
from typing import Any

from mms.context import Context
from mms.service import PredictionException

logger = logging.getLogger(__name__)


class ModelService:
    """A 0.x service: made with the model's folder and manifest, then asked to `handle` batches."""

    def __init__(self, model_name: str, model_dir: str, manifest: dict[str, Any], gpu: int | None = None) -> None:
        self.ctx: Any = None
        self._context: Context | None = None
        self._signature: Any = None

    def initialize(self, context: Context) -> None:
        """Read the signature that the manifest names; ValueError if it is missing."""
        self._context = context
        self._signature = read_signature(context.system_properties["model_dir"], context.manifest or {})

    def inference(self, data: list[Any]) -> Any:
        """Return the results for one request, given its inputs in the order of the signature."""
        raise NotImplementedError(f"{type(self).__name__} has no inference method.")

    def ping(self) -> Any:
        """Return something that shows the service is healthy. MMS 1.x never calls it."""
        return None

    def signature(self) -> Any:
        """Return the signature as a dict."""
        return self._signature

    def handle(self, data: list[dict[str, Any]], context: Context) -> list[Any]:
        """Answer a batch for a service that knows single requests only."""
        return [self._answer(request) for request in data]

    def _answer(self, request: dict[str, Any]) -> Any:
        # MMS: model_service.py answers the first request only, with whatever list comes back. A batch gets one result
        # a request here: a list of one result is that result, a list of several outputs is one JSON array.
        result = self.inference(self._inputs(request))
        return result[0] if isinstance(result, list) and len(result) == 1 else result

    def _inputs(self, request: dict[str, Any]) -> list[Any]:
        """Return the inputs of the signature that the request has; the first may also be called body or data."""
        first, *others = (declared["data_name"] for declared in self._signature["inputs"])
        values = [next((request[name] for name in (first, "body", "data") if request.get(name) is not None), None)]
        values += [request[name] for name in others if name in request]
        if self._signature.get("input_type") != "application/json":
            return values
        return [_parse(value) if isinstance(value, bytes | bytearray) else value for value in values]


class SingleNodeService(ModelService):
    """A service of one model. Derive from it and write `_inference`, and `_preprocess` and `_postprocess` if needed."""

    def inference(self, data: list[Any]) -> Any:
        """Run the three steps and log what each took."""
        start = time.perf_counter()
        data = self._preprocess(data)
        preprocessed = time.perf_counter()
        data = self._inference(data)
        inferred = time.perf_counter()
        data = self._postprocess(data)
        end = time.perf_counter()
        logger.info("preprocess time: %.2f", (preprocessed - start) * 1000)
        logger.info("inference time: %.2f", (inferred - preprocessed) * 1000)
        logger.info("postprocess time: %.2f", (end - inferred) * 1000)
        return data

    def _inference(self, data: Any) -> Any:
        """Return the model's output for what `_preprocess` made of the inputs."""
        raise NotImplementedError(f"{type(self).__name__} has no _inference method.")

    def _preprocess(self, data: Any) -> Any:
        """Return what `_inference` takes; here, the inputs as they came."""
        return data

    def _postprocess(self, data: Any) -> Any:
        """Return what the client gets; here, the output as it is."""
        return data


def read_signature(model_dir: str, manifest: dict[str, Any]) -> Any:
    """Return the signature of a 0.x model; ValueError without one."""
    path = Path(model_dir, manifest["Model"]["Signature"])
    if not path.is_file():
        raise ValueError(f"Signature file is not found: {path.name}.")
    return json.loads(path.read_bytes())


def _parse(value: bytes | bytearray) -> Any:
    """Read JSON, or the Python literal that MMS 0.x and 1.x took for it."""
    try:
        text = value.decode()
        try:
            return json.loads(text)
        except ValueError:
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError) as exc:
        raise PredictionException("The request is not valid JSON.", 400) from exc
