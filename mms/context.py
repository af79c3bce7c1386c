"""Handler API: what a handler learns about its model and requests, and how it shapes its answers. Worker process."""

from collections.abc import Callable, Iterable
from typing import Any

from mms.headers import HeaderValue, RequestHeaders, check_header, check_status, check_text
from mms.metrics.metrics_store import MetricsStore


class RequestProcessor:
    """One request of the batch: its headers, and the status and headers of its answer."""

    def __init__(self, request_header: RequestHeaders | Callable[[], RequestHeaders]) -> None:
        # Most handlers never look at a header, so splitting them waits for the first that does.
        self._request_header = request_header
        self._status_code = 200
        self._reason_phrase: str | None = None
        self._response_header: dict[str, str] = {}

    def get_request_property(self, key: str) -> HeaderValue | None:
        """Return one request header, or None. The name must be spelled as the client did."""
        return self.get_request_properties().get(key)

    def get_request_properties(self) -> RequestHeaders:
        """Return all request headers; see `Context.get_all_request_header`."""
        headers = self._request_header
        if callable(headers):
            headers = self._request_header = headers()
        return headers

    def report_status(self, code: int, reason_phrase: str | None = None) -> None:
        """Set the HTTP status and reason phrase of the answer. ValueError if HTTP could not carry them."""
        # MMS: context.py and otf_message_handler.py take None for "not set".
        status = 200 if code is None else check_status(code)
        phrase = None if reason_phrase is None else check_text("The reason phrase of the response", reason_phrase)
        self._status_code = status
        self._reason_phrase = phrase

    def get_response_status_code(self) -> int:
        """Return the HTTP status that the answer will have."""
        return self._status_code

    def get_response_status_phrase(self) -> str | None:
        """Return the reason phrase that was set, or None."""
        return self._reason_phrase

    def add_response_property(self, key: str, value: str) -> None:
        """Set one header of the answer. ValueError if HTTP could not carry it."""
        name, text = check_header(key, value)
        self._response_header[name] = text

    def get_response_headers(self) -> dict[str, str]:
        """Return the headers set so far."""
        return self._response_header

    def get_response_header(self, key: str) -> str | None:
        """Return one header set so far, or None."""
        return self._response_header.get(key)


class BatchProcessor(list[RequestProcessor]):
    """The processors of a batch: a list that old handlers may also use as if it were the processor of the only request.

    Handlers made from MMS's first templates call `context.request_processor.report_status(...)`; what they set
    applies to every request, what they read comes from the first.
    """

    def report_status(self, code: int, reason_phrase: str | None = None) -> None:
        """Set the status of every answer."""
        for processor in self:
            processor.report_status(code, reason_phrase)

    def add_response_property(self, key: str, value: str) -> None:
        """Set a header of every answer."""
        for processor in self:
            processor.add_response_property(key, value)

    def get_request_property(self, key: str) -> HeaderValue | None:
        """Return a header of the first request."""
        return self[0].get_request_property(key)

    def get_request_properties(self) -> RequestHeaders:
        """Return the headers of the first request."""
        return self[0].get_request_properties()

    def get_response_status_code(self) -> int:
        """Return the status of the first answer."""
        return self[0].get_response_status_code()

    def get_response_status_phrase(self) -> str | None:
        """Return the reason phrase of the first answer."""
        return self[0].get_response_status_phrase()

    def get_response_headers(self) -> dict[str, str]:
        """Return the headers of the first answer."""
        return self[0].get_response_headers()

    def get_response_header(self, key: str) -> str | None:
        """Return a header of the first answer."""
        return self[0].get_response_header(key)


class Context:
    """What a handler is told besides its data; one for the life of a model, filled anew for every batch.

    An `idx` is the position of a request in the list that `handle` received::

        def handle(data, context):
            for idx, request in enumerate(data):
                if context.get_request_header(idx, "Accept") == "text/csv":
                    context.set_response_content_type(idx, "text/csv")
            ...

    `system_properties` holds `model_dir` (absolute), `gpu_id` (None on a CPU), `batch_size`, `server_name` ("MMS") and
    `server_version`. `manifest` is the archive's manifest as a dict, None for an archive without one.
    """

    def __init__(
        self,
        model_name: str,
        model_dir: str,
        manifest: dict[str, Any] | None,
        batch_size: int,
        gpu: int | None,
        mms_version: str,
    ) -> None:
        self.model_name = model_name
        self.manifest = manifest
        self.request_ids: dict[int, str] | None = None
        """Request ids by position; None while the model loads."""
        self.metrics: MetricsStore = MetricsStore({}, model_name)
        """Where the handler records its own metrics."""
        self._request_processor: BatchProcessor | None = None
        self._system_properties: dict[str, Any] = {
            "model_dir": model_dir,
            "gpu_id": gpu,
            "batch_size": batch_size,
            "server_name": "MMS",
            "server_version": mms_version,
        }

    @property
    def system_properties(self) -> dict[str, Any]:
        """Where and how the model runs."""
        return self._system_properties

    @property
    def request_processor(self) -> BatchProcessor | None:
        """One RequestProcessor a request; None while the model loads."""
        return self._request_processor

    @request_processor.setter
    def request_processor(self, request_processor: Iterable[RequestProcessor] | None) -> None:
        if request_processor is None or isinstance(request_processor, BatchProcessor):
            self._request_processor = request_processor
        else:
            self._request_processor = BatchProcessor(request_processor)

    def get_request_id(self, idx: int = 0) -> str | None:
        """Return the id that the client sees as `x-request-id`; None for a position outside the batch."""
        return self.request_ids.get(idx) if self.request_ids else None

    def get_request_header(self, idx: int, key: str) -> HeaderValue | None:
        """Return one request header, or None. Spell its name as the client did; of a repeat the last counts."""
        processors = self._request_processor
        if not processors or not 0 <= idx < len(processors):
            return None
        return processors[idx].get_request_property(key)

    def get_all_request_header(self, idx: int) -> RequestHeaders:
        """Return all headers of a request, names spelled as the client did.

        Each input parameter adds an entry, name to `{"content-type": "image/jpeg"}`, unless a header has its name.
        """
        return self._processor(idx).get_request_properties()

    def set_response_content_type(self, idx: int, value: str) -> None:
        """Set the Content-Type of an answer; without it, an answer has none."""
        if value is None:
            self._processor(idx).get_response_headers().pop("content-type", None)
        else:
            self.set_response_header(idx, "content-type", value)

    def get_response_content_type(self, idx: int) -> str | None:
        """Return the content type set for an answer, or None."""
        return self.get_response_headers(idx).get("content-type")

    def get_response_status(self, idx: int) -> tuple[int, str | None]:
        """Return status and reason phrase of an answer."""
        processor = self._processor(idx)
        return processor.get_response_status_code(), processor.get_response_status_phrase()

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        """Set status (200 to 999) and reason phrase of one answer; does nothing while the model loads."""
        if self._request_processor is not None:
            self._processor(idx).report_status(code, phrase)

    def set_all_response_status(self, code: int = 200, phrase: str = "") -> None:
        """Set status (200 to 999) and reason phrase of every answer of the batch."""
        if self._request_processor is not None:
            self._request_processor.report_status(code, phrase)

    def get_response_headers(self, idx: int) -> dict[str, str]:
        """Return the headers set so far for an answer."""
        return self._processor(idx).get_response_headers()

    def set_response_header(self, idx: int, key: str, value: str) -> None:
        """Set a header of an answer.

        Numbers are converted to text. ValueError for what could not travel as a header, such as a line break.
        """
        self._processor(idx).add_response_property(key, value)

    def _processor(self, idx: int) -> RequestProcessor:
        processors = self._request_processor
        if processors is None:
            raise IndexError("There is no request while the model loads.")
        try:
            return processors[idx]
        except IndexError:
            raise IndexError(f"There is no request {idx} in this batch of {len(processors)}.") from None
