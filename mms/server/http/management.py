"""The management API: register, list, describe, scale and unregister models. Runs in the front process."""

from datetime import UTC, datetime
from typing import Any

from mms.server.errors import MethodNotAllowedException, WorkerInitializationException
from mms.server.http import web
from mms.server.http.answer import Answer, json_answer, status_answer
from mms.server.http.payload import page_request, read_body, register_request, scale_request
from mms.server.http.target import Target
from mms.server.model import Model
from mms.server.registry import ModelRegistry
from mms.server.slot import Slot


class ManagementApi:
    """Answers what MMS answers on `management_address` (http/ManagementRequestHandler.java)."""

    def __init__(self, registry: ModelRegistry, *, default_workers: int, max_request_bytes: int) -> None:
        self._registry = registry
        self._default_workers = default_workers
        self._max_request_bytes = max_request_bytes

    async def answer(self, request: web.BaseRequest, target: Target, request_id: str) -> Answer | None:
        """Answer a request, or return None if this API has no such route."""
        match target.segments, request.method:
            case ("models",), "GET":
                return self._list(target)
            case ("models",), "POST":
                return await self._register(request, target)
            case ("models", name), "GET":
                return json_answer(_description(self._registry.get(name)))
            case ("models", name), "PUT":
                return await self._scale(name, target)
            case ("models", name), "DELETE":
                await self._registry.unregister(name)
                return status_answer(f'Model "{name}" unregistered')
            case ("models",) | ("models", _), _:
                raise MethodNotAllowedException
            case _:
                return None

    def _list(self, target: Target) -> Answer:
        limit, start = page_request(target)
        pattern = target.parameter("model_name_pattern")
        models = [model for model in self._registry.models() if not pattern or pattern in model.name]
        page = models[start : start + limit]
        document: dict[str, Any] = {}
        if start + limit < len(models):
            document["nextPageToken"] = str(start + limit)
        document["models"] = [{"modelName": model.name, "modelUrl": model.url} for model in page]
        return json_answer(document)

    async def _register(self, request: web.BaseRequest, target: Target) -> Answer:
        body = await read_body(request, self._max_request_bytes)
        wanted = register_request(target, request.headers.get("Content-Type", ""), body)
        workers = self._default_workers if wanted.initial_workers is None else wanted.initial_workers
        model = await self._registry.register(wanted)
        if workers == 0:
            return status_answer(f'Model "{model.name}" registered')
        try:
            done = await self._registry.start_workers(model, workers, wait=wanted.synchronous)
        except WorkerInitializationException as exc:
            raise _failed_to_start(exc) from exc
        return _scaled(model, wait=wanted.synchronous, done=done)

    async def _scale(self, name: str, target: Target) -> Answer:
        minimum, maximum, wait = scale_request(target)
        model = self._registry.get(name)
        try:
            done = await model.scale(minimum, maximum, wait=wait)
        except WorkerInitializationException as exc:
            raise _failed_to_start(exc) from exc
        return _scaled(model, wait=wait, done=done)


def _scaled(model: Model, *, wait: bool, done: bool) -> Answer:
    if not wait:
        return status_answer("Processing worker updates...", status=202)
    if not done or model.pool.running < model.min_workers:
        return status_answer("Workers scaling in progress...", status=210, reason="Partial Success")
    return status_answer("Workers scaled")


def _failed_to_start(error: WorkerInitializationException) -> WorkerInitializationException:
    # MMS's words for every load that it noticed; what `initialize` raised it never told.
    cause = f": {error}\n{error.traceback}" if error.in_initialize else ""
    return WorkerInitializationException(f"Failed to start workers{cause}", error.status)


def _description(model: Model) -> dict[str, Any]:
    manifest = model.manifest
    document: dict[str, Any] = {"modelName": model.name}
    if manifest.model.version is not None:
        document["modelVersion"] = manifest.model.version
    document["modelUrl"] = model.url
    if manifest.engine is not None:
        document["engine"] = manifest.engine.name
    document |= {
        "runtime": manifest.runtime,
        "minWorkers": model.min_workers,
        "maxWorkers": model.max_workers,
        "batchSize": model.batch_size,
        "maxBatchDelay": model.max_batch_delay_ms,
        "loadedAtStartup": model.loaded_at_startup,
        "workers": [_worker(slot) for slot in model.pool.slots],
    }
    return document


def _worker(slot: Slot) -> dict[str, Any]:
    started = datetime.fromtimestamp(slot.started_at, UTC)
    return {
        "id": str(slot.number),
        "startTime": f"{started:%Y-%m-%dT%H:%M:%S}.{started.microsecond // 1000:03d}Z",
        "status": str(slot.state),
        "gpu": slot.gpu_id is not None,
        "memoryUsage": slot.memory_bytes,
    }
