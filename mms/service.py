"""Handler API: a loaded model (`Service`) and the exception a handler answers with. Worker process."""

import json
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from mms.context import BatchProcessor, Context, RequestProcessor
from mms.headers import RequestHeaders, check_status, mime_type, response_headers, split_headers
from mms.metrics.metrics_store import MetricsStore
from mms.protocol.messages import (
    Failure,
    InferenceRequest,
    MetricRecord,
    Parameter,
    Prediction,
    PredictReply,
    prediction_time,
)
from mms.version import __version__

EntryPoint = Callable[[list[dict[str, Any]] | None, Context], Any]
"""A handler: takes a list with one dict a request (None once, at load) and returns a list with one result a request."""

INTERNAL_ERROR = "InternalServerException"
SMALL_BODY_BYTES = 1 << 16

logger = logging.getLogger(__name__)


class PredictionException(Exception):
    """Raise it in a handler to answer every request of the batch with this message and HTTP status.

    ::

        raise PredictionException("The image is not a JPEG.", 400)
    """

    def __init__(self, message: str, error_code: int = 500) -> None:
        super().__init__(message)
        self.message = message
        self.error_code = error_code

    def __str__(self) -> str:
        return f"{self.message} : {self.error_code}"


class Service:
    """A model and its context: turns requests into what its handler is given, and what it returns into predictions."""

    def __init__(
        self,
        model_name: str,
        model_dir: str,
        manifest: dict[str, Any] | None,
        entry_point: EntryPoint,
        gpu: int | None,
        batch_size: int,
        *,
        decode_input: bool = True,
        max_response_bytes: int = 6553500,
    ) -> None:
        self._context = Context(model_name, model_dir, manifest, batch_size, gpu, __version__)
        self._entry_point = entry_point
        self._decode_input = decode_input
        self._max_response_bytes = max_response_bytes

    @property
    def context(self) -> Context:
        """What the handler is given beside its data."""
        return self._context

    def predict(self, requests: Sequence[InferenceRequest]) -> PredictReply:
        """Run the handler once for all `requests`.

        A request whose JSON or text cannot be decoded is answered 400 and kept from the handler. What the handler
        raises becomes the answer of all others, SystemExit and KeyboardInterrupt excepted: they end the process.
        """
        data: list[dict[str, Any]] = []
        accepted: list[InferenceRequest] = []
        refusals: list[Failure | None] = []
        for request in requests:
            inputs = self._read(request)
            if isinstance(inputs, Failure):
                refusals.append(inputs)
                continue
            refusals.append(None)
            data.append(inputs)
            accepted.append(request)
        metrics = self._metrics_of_loading()
        answers: list[Prediction | Failure] = []
        prediction_ms = None
        if accepted:
            answers, prediction_ms = self._run(data, accepted, metrics)
        if len(answers) < len(refusals):
            remaining = iter(answers)
            answers = [refusal or next(remaining) for refusal in refusals]
            if prediction_ms is not None:
                # The front end would name all requests of the batch; these are the ones that the handler saw.
                metrics.append(self._prediction_time(accepted, prediction_ms))
                prediction_ms = None
        return PredictReply(answers, tuple(metrics), prediction_ms)

    def _prediction_time(self, requests: Sequence[InferenceRequest], milliseconds: float) -> MetricRecord:
        ids = ",".join(request.request_id for request in requests)
        return prediction_time(self._context.model_name, ids, milliseconds)

    def _metrics_of_loading(self) -> list[MetricRecord]:
        context = self._context
        if context.request_ids is not None or not context.metrics.store:
            return []
        # LoadReply has no room for metrics: what initialize() recorded travels with the first batch.
        records = _records(context.metrics)
        context.metrics = MetricsStore({}, context.model_name)
        return records

    def _read(self, request: InferenceRequest) -> dict[str, Any] | Failure:
        inputs = {}
        for parameter in request.parameters:
            try:
                inputs[parameter.name] = _decode(parameter) if self._decode_input else _raw(parameter)
            except (ValueError, RecursionError) as exc:
                what = "text" if mime_type(parameter.content_type).startswith("text") else "JSON"
                message = f'Parameter "{parameter.name}" is not valid {what}: {exc}.'
                return Failure(400, "BadRequestException", _encodable(message))
            except MemoryError:
                logger.exception("System out of memory while a request was decoded.")
                return Failure(507, INTERNAL_ERROR, "Out of resources")
        return inputs

    def _run(
        self, data: list[dict[str, Any]], requests: list[InferenceRequest], metrics: list[MetricRecord]
    ) -> tuple[list[Prediction | Failure], float | None]:
        context = self._context
        context.request_ids = ids = {idx: request.request_id for idx, request in enumerate(requests)}
        processors = BatchProcessor([RequestProcessor(partial(_request_headers, request)) for request in requests])
        context.request_processor = processors
        context.metrics = store = MetricsStore(ids, context.model_name)
        count = len(data)

        start = time.perf_counter()
        output = self._call_handler(data)
        duration_ms = round((time.perf_counter() - start) * 1000, 2)

        if store.store:
            metrics.extend(_records(store))
        if isinstance(output, Failure):
            return [output] * count, None
        if len(output) != count:
            logger.warning(
                "model: %s, number of batch response mismatched, expect: %d, got: %d.",
                context.model_name,
                count,
                len(output),
            )
            return [Failure(503, INTERNAL_ERROR, "number of batch response mismatched")] * count, None
        return [self._prediction(value, processors[idx]) for idx, value in enumerate(output)], duration_ms

    def _call_handler(self, data: list[dict[str, Any]]) -> list[Any] | Failure:
        try:
            output = self._entry_point(data, self._context)
        except PredictionException as exc:
            logger.exception("Prediction error")
            return _failure_of(exc)
        except MemoryError:
            logger.exception("System out of memory")
            return Failure(507, INTERNAL_ERROR, "Out of resources")
        except Exception:
            # A handler may raise anything; the traceback is for whoever runs the server, not for the client.
            logger.warning("Invoking custom service failed.", exc_info=True)
            return Failure(503, INTERNAL_ERROR, "Prediction failed")
        if not isinstance(output, list):
            logger.warning("model: %s, Invalid return type: %s.", self._context.model_name, type(output))
            return Failure(503, INTERNAL_ERROR, "Invalid model predict output")
        return output

    def _prediction(self, value: object, processor: RequestProcessor) -> Prediction | Failure:
        try:
            body = _encode(value)
        except MemoryError:
            logger.exception("System out of memory while a result was encoded.")
            return Failure(507, INTERNAL_ERROR, "Out of resources")
        except Exception:
            # Encoding runs the handler's code too: items() of its dicts, __float__ of its numbers.
            logger.warning("Unable to serialize model output of type %s.", type(value), exc_info=True)
            return Failure(503, INTERNAL_ERROR, "Unsupported model output data type.")
        if len(body) > self._max_response_bytes:
            message = (
                f"The response of {len(body)} bytes exceeds max_response_size ({self._max_response_bytes} bytes) "
                "in the server's configuration."
            )
            logger.warning(message)
            return Failure(500, INTERNAL_ERROR, message)
        status = processor.get_response_status_code()
        reason = processor.get_response_status_phrase() or ""
        headers = processor.get_response_headers()
        if not headers:
            return Prediction(body, status, reason)
        try:
            content_type, others = response_headers(headers.items())
        except ValueError:
            # Only a handler that edits the dict of get_response_headers() in place gets here.
            logger.warning("Invalid response headers.", exc_info=True)
            return Failure(503, INTERNAL_ERROR, "Prediction failed")
        return Prediction(body, status, reason, content_type, others)


def _raw(parameter: Parameter) -> bytearray:
    value = parameter.value
    # A large value arrives as a bytearray already (frames.py): no second copy.
    return value if isinstance(value, bytearray) else bytearray(value)


def _decode(parameter: Parameter) -> Any:
    """Return the value as its content type says; names of types are case-sensitive, as in MMS."""
    if not parameter.content_type:
        return _raw(parameter)
    kind = mime_type(parameter.content_type)
    if kind == "application/json":
        return json.loads(str(parameter.value, "utf-8"))
    if kind.startswith("text"):
        return str(parameter.value, "utf-8")
    return _raw(parameter)


def _request_headers(request: InferenceRequest) -> RequestHeaders:
    """Return what `Context.get_all_request_header` promises."""
    headers: RequestHeaders = {p.name: {"content-type": mime_type(p.content_type)} for p in request.parameters}
    sent = split_headers(request.headers)
    headers.update(sent)
    if not any(name.lower() == "content-length" for name in sent):
        # A chunked or empty body has the length of the parameter it became; a chunked form's is not known here.
        for parameter in request.parameters:
            if parameter.name == "body":
                headers["content-length"] = str(len(parameter.value))
    return headers


def _encode(value: object) -> bytes | bytearray:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    if isinstance(value, bytearray):
        # Whatever stays a bytearray is sent before the handler is called again: worth it for a large one only.
        return bytes(value) if len(value) <= SMALL_BODY_BYTES else value
    return json.dumps(value, indent=2).encode()


def _failure_of(exc: PredictionException) -> Failure:
    message = _encodable(str(exc.message))
    try:
        return Failure(check_status(exc.error_code), INTERNAL_ERROR, message)
    except ValueError:
        logger.warning("PredictionException with the error_code %r: answered with 500.", exc.error_code)
        return Failure(500, INTERNAL_ERROR, message)


def _encodable(text: str) -> str:
    """Return `text` with lone surrogates, which no answer can carry, written as escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _records(store: MetricsStore) -> list[MetricRecord]:
    now = int(time.time())
    records = []
    for metric in store.store:
        fields = (metric.name, metric.unit, metric.value, *metric.dimensions)
        try:
            name, unit, value, *dimensions = (" ".join(str(field).splitlines()) for field in fields)
        except Exception:
            # An MXNet array computes its value, and fails, only when it is read: the metric is lost, the answer is not.
            logger.warning("The metric %s cannot be written.", metric.name, exc_info=True)
            continue
        records.append(MetricRecord(name, unit, value, dimensions, metric.request_id or "", now))
    return records
