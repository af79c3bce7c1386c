"""From a request's bytes to what a handler or the registry gets. Runs in the front process."""

import json
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from mms.protocol.messages import InferenceRequest, Parameter
from mms.server.errors import BadRequestException, RequestEntityTooLarge
from mms.server.http import web
from mms.server.http.multipart import boundary_of, parse_multipart
from mms.server.http.target import BAD_ESCAPE, Target
from mms.server.model import RegisterModelRequest
from model_archiver.manifest import RUNTIMES

T = TypeVar("T")

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
MAX_FORM_FIELDS = 10000


async def read_body(request: web.BaseRequest, max_bytes: int) -> bytes:
    """Read the whole body. Raises RequestEntityTooLarge as soon as it is known to have more than `max_bytes`."""
    if (request.content_length or 0) > max_bytes:
        raise RequestEntityTooLarge
    content = request.content
    chunks: list[bytes] = []
    size = 0
    while not content.at_eof():
        chunk = await content.readany()
        chunks.append(chunk)
        size += len(chunk)
        if size > max_bytes:
            raise RequestEntityTooLarge
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def inference_request(
    request: web.BaseRequest, request_id: str, body: bytes, *, query: tuple[tuple[str, str], ...] = ()
) -> InferenceRequest:
    """Make what the handler gets: the query's parameters, where they count, then those of the body."""
    parameters = [Parameter(name, "", value.encode()) for name, value in query]
    parameters += body_parameters(request.headers.get("Content-Type", ""), body)
    return InferenceRequest(request_id, _header_block(request, len(body)), parameters)


def _header_block(request: web.BaseRequest, body_bytes: int) -> bytes:
    lines = []
    has_length = False
    for name, value in request.raw_headers:
        lowered = name.lower()
        if lowered in (b"transfer-encoding", b"expect"):
            # Between the client and this server only; MMS's handlers never see them either.
            continue
        has_length = has_length or lowered == b"content-length"
        lines.append(b"%b: %b" % (name, value))
    if not has_length:
        lines.append(b"content-length: %d" % body_bytes)
    return b"\n".join(lines)


def is_divided(content_type: str) -> bool:
    """Whether a body of this type may have more than one named input."""
    return _mime(content_type) in (FORM, MULTIPART)


def body_parameters(content_type: str, body: bytes) -> list[Parameter]:
    """Return the named inputs of a body: form fields, parts of a multipart body, or the body as a whole."""
    mime = _mime(content_type)
    if mime == FORM:
        return _form_parameters(content_type, body)
    if mime == MULTIPART and (boundary := boundary_of(content_type)) is not None:
        return parse_multipart(body, boundary)
    return [Parameter("body", content_type, body)]


def _mime(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _form_parameters(content_type: str, body: bytes) -> list[Parameter]:
    if body and b"=" not in body and b"&" not in body:
        # `curl -d hello`: MMS loses it; it can only be meant as the whole body.
        return [Parameter("body", content_type, body)]
    items = [item for item in body.split(b"&") if item]
    if len(items) > MAX_FORM_FIELDS:
        raise BadRequestException(f"The form has more than {MAX_FORM_FIELDS} fields.")
    parameters = []
    for item in items:
        name, _, value = item.replace(b"+", b" ").partition(b"=")
        if BAD_ESCAPE.search(item.decode("latin-1")):
            raise BadRequestException("The form has an invalid percent escape.")
        parameters.append(Parameter(unquote_to_bytes(name).decode(errors="replace"), "", unquote_to_bytes(value)))
    return parameters


def register_request(target: Target, content_type: str, body: bytes) -> RegisterModelRequest:
    """Read `POST /models`: a JSON body if there is one, else the query (MMS: RegisterModelRequest.java).

    Raises BadRequestException that names the parameter.
    """
    if content_type.partition(";")[0].strip() == "application/json":
        given = _json_object(body)
    else:
        given = dict(reversed(target.query))
    runtime = _text(given, "runtime")
    if runtime is not None and runtime not in RUNTIMES:
        raise BadRequestException(f"Invalid RuntimeType value: {runtime}")
    url = _text(given, "url")
    if not url:
        raise BadRequestException("Parameter url is required.")
    timeout = _integer(given, "response_timeout", -1)
    if timeout == 0:
        raise BadRequestException("Parameter response_timeout must be at least 1 second; leave it out for the default.")
    # MMS: an initial_workers that is no whole number counts as not given.
    initial_workers = _lenient_integer(given.get("initial_workers"), None)
    return RegisterModelRequest(
        url=url,
        model_name=_text(given, "model_name"),
        handler=_text(given, "handler"),
        runtime=runtime,
        batch_size=_at_least(1, "batch_size", _integer(given, "batch_size", 1)),
        max_batch_delay_ms=_at_least(0, "max_batch_delay", _integer(given, "max_batch_delay", 100)),
        response_timeout_s=timeout if timeout > 0 else None,
        initial_workers=None if initial_workers is None else max(0, initial_workers),
        preload_model=_boolean(given, "preload_model", None),
        synchronous=_synchronous(given, default=True),
    )


def scale_request(target: Target) -> tuple[int, int, bool]:
    """Read `PUT /models/{name}`: minimum, maximum, synchronous."""
    given = dict(reversed(target.query))
    minimum = _at_least(0, "min_worker", _integer(given, "min_worker", 1))
    maximum = _at_least(0, "max_worker", _integer(given, "max_worker", minimum))
    if maximum < minimum:
        raise BadRequestException("max_worker cannot be less than min_worker.")
    return minimum, maximum, _synchronous(given, default=False)


def page_request(target: Target) -> tuple[int, int]:
    """Read `GET /models`: the limit, 1 to 100, and the index to start from. What cannot be read is the default."""
    limit = _lenient_integer(target.parameter("limit"), 100)
    start = _lenient_integer(target.parameter("next_page_token"), 0)
    return limit if 0 < limit <= 100 else 100, max(start, 0)


def _json_object(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise BadRequestException(f"The JSON body cannot be read: {exc}") from exc
    if not isinstance(document, dict):
        raise BadRequestException('The JSON body must be an object with the parameters, such as {"url": ...}.')
    return document


def _text(given: Mapping[str, Any], name: str) -> str | None:
    value = given.get(name)
    if value is None or isinstance(value, str):
        return value
    raise BadRequestException(f"Parameter {name} must be a string.")


def _integer(given: Mapping[str, Any], name: str, default: T) -> int | T:
    value = given.get(name)
    if value is None or value == "":
        return default
    try:
        if isinstance(value, str | int) and not isinstance(value, bool):
            number = int(value)
            if abs(number) < 1 << 31:
                return number
    except ValueError:
        pass
    raise BadRequestException(f"Parameter {name} must be a whole number, not {value!r}.")


def _boolean(given: Mapping[str, Any], name: str, default: T) -> bool | T:
    value = given.get(name)
    if value is None or value == "":
        return default
    words = {"true": True, "false": False}
    found = words.get(str(value).lower())
    if found is None:
        raise BadRequestException(f"Parameter {name} must be true or false, not {value!r}.")
    return found


def _synchronous(given: Mapping[str, Any], *, default: bool) -> bool:
    # MMS: anything but `true` is false, in any case of letters.
    value = given.get("synchronous")
    return default if value is None else str(value).lower() == "true"


def _at_least(least: int, name: str, value: int) -> int:
    if value < least:
        raise BadRequestException(f"Parameter {name} must be at least {least}, not {value}.")
    return value


def _lenient_integer(value: object, default: T) -> int | T:
    try:
        return int(value) if isinstance(value, str | int) else default
    except ValueError:
        return default
