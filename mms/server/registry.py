"""The registered models: register, scale, describe, unregister, health. Runs in the front process."""

import asyncio
import itertools
import logging
import re
from collections.abc import Callable

import model_archiver.errors
from mms.protocol.messages import WorkerSpec
from mms.server.backends.base import WorkerBackend
from mms.server.batching import BatchQueue
from mms.server.config import Config
from mms.server.errors import (
    BadRequestException,
    ConflictStatusException,
    InvalidModelException,
    ModelNotFoundException,
    RequestTimeoutException,
    WorkerInitializationException,
)
from mms.server.model import Model, RegisterModelRequest
from mms.server.model_store import ModelStore, StoredModel
from mms.server.pool import WorkerNumbers, WorkerPool
from mms.server.workplace import PoolObserver, Workplace
from model_archiver.manifest import RUNTIMES, Manifest

logger = logging.getLogger(__name__)

UNUSABLE_IN_NAME = re.compile(r'[\x00-\x1f\x7f/\\?#%<>"&]')
MAX_NAME_CHARACTERS = 255


class ModelRegistry:
    """All models of this server, by name."""

    def __init__(
        self,
        config: Config,
        store: ModelStore,
        backend: WorkerBackend,
        observer: PoolObserver,
        *,
        preload_backend: WorkerBackend | None = None,
    ) -> None:
        self._config = config
        self._store = store
        self._backend = backend
        self._preload_backend = preload_backend or backend
        self._observer = observer
        self._models: dict[str, Model] = {}
        self._arriving: set[str] = set()
        self._starting: set[asyncio.Task[bool]] = set()
        self._numbers = WorkerNumbers(itertools.count(9000), _round_robin(config.number_of_gpu))

    def get(self, name: str) -> Model:
        """Return the model of that name, or raise ModelNotFoundException."""
        try:
            return self._models[name]
        except KeyError:
            raise ModelNotFoundException(f"Model not found: {name}") from None

    def models(self) -> list[Model]:
        """Return all models, sorted by name."""
        return [self._models[name] for name in sorted(self._models)]

    def only_startup_model(self) -> str | None:
        """Return the name of the model that a request without one means: the one startup model, if it is one."""
        names = [model.name for model in self._models.values() if model.loaded_at_startup]
        return names[0] if len(names) == 1 else None

    def health(self) -> str:
        """Return MMS's word for the whole server: Healthy, Partial Healthy or Unhealthy."""
        wanted = sum(model.min_workers for model in self._models.values())
        running = sum(model.pool.running for model in self._models.values())
        if wanted == 0 or running >= wanted:
            return "Healthy"
        return "Partial Healthy" if running else "Unhealthy"

    def refresh_memory(self) -> None:
        """Read the memory of every worker anew; quick, but it reads files: call it in a thread."""
        for model in self.models():
            for slot in list(model.pool.slots):
                slot.refresh_memory()

    async def register(self, request: RegisterModelRequest) -> Model:
        """Fetch and add a model, without workers yet. Raises what ModelStore.fetch does, or ConflictStatusException."""
        if request.runtime is not None and request.runtime not in RUNTIMES:
            raise BadRequestException(f"Invalid RuntimeType value: {request.runtime}")
        if request.model_name:
            _check_name(request.model_name)
            self._claim(request.model_name)
        name = request.model_name
        try:
            stored = await self._store.fetch(request.url, trusted=request.at_startup)
            try:
                manifest = self._complete(stored.manifest, request)
                if not name:
                    archive_name = manifest.model.name or ""
                    _check_name(archive_name)
                    self._claim(archive_name)
                    # Only now is it ours to give back: a refused claim belongs to another registration.
                    name = archive_name
                model = self._make(name, request, stored, manifest)
            except BaseException:
                await asyncio.to_thread(stored.clean)
                raise
        finally:
            if name:
                self._arriving.discard(name)
        self._models[name] = model
        logger.info("Model %s loaded.", name)
        return model

    async def start_workers(self, model: Model, count: int, *, wait: bool) -> bool:
        """Give a new model its first workers; one that does not load takes the model with it.

        Raises WorkerInitializationException; see Model.scale for the result.
        """
        # A task of ours: a client that hangs up must not leave a model behind that never loads.
        task = asyncio.create_task(self._start_workers(model, count, wait=wait))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)
        return await asyncio.shield(task)

    async def _start_workers(self, model: Model, count: int, *, wait: bool) -> bool:
        try:
            return await model.scale(count, count, wait=wait)
        except WorkerInitializationException:
            await self._remove(model, timeout_s=0)
            raise

    async def unregister(self, name: str) -> None:
        """Remove a model. Raises ModelNotFoundException, or RequestTimeoutException if its workers had to be killed."""
        model = self.get(name)
        if not await self._remove(model, timeout_s=self._config.unregister_model_timeout):
            raise RequestTimeoutException(f"Timed out while cleaning resources: {name}")
        logger.info("Model %s unregistered.", name)

    async def close(self, *, timeout_s: float) -> None:
        """Remove all models, each with `timeout_s` seconds for what runs."""
        await asyncio.gather(*(self._remove(model, timeout_s=timeout_s) for model in self.models()))

    async def _remove(self, model: Model, *, timeout_s: float) -> bool:
        if self._models.get(model.name) is not model:
            return True
        del self._models[model.name]
        # Shielded: a client that hangs up must not stop the clean-up half way.
        return await asyncio.shield(asyncio.ensure_future(model.close(timeout_s=timeout_s)))

    def _claim(self, name: str) -> None:
        if name in self._models or name in self._arriving:
            raise ConflictStatusException(f"Model {name} is already registered.")
        self._arriving.add(name)

    def _complete(self, manifest: Manifest, request: RegisterModelRequest) -> Manifest:
        manifest = manifest.with_overrides(
            name=request.model_name,
            handler=request.handler,
            runtime=request.runtime,
            default_name=request.default_name,
            default_handler=self._config.default_service_handler,
        )
        try:
            manifest.validate()
        except model_archiver.errors.InvalidModelException as exc:
            raise InvalidModelException(str(exc)) from exc
        return manifest

    def _make(self, name: str, request: RegisterModelRequest, stored: StoredModel, manifest: Manifest) -> Model:
        config = self._config
        spec = WorkerSpec(
            model_name=name,
            model_dir=str(stored.folder.resolve()),
            handler=manifest.model.handler or "",
            runtime=manifest.runtime or "python",
            batch_size=request.batch_size,
            decode_input=config.decode_input_request,
            max_response_bytes=config.max_response_size,
        )
        queue = BatchQueue(
            name,
            capacity=config.job_queue_size,
            batch_size=request.batch_size,
            max_delay_s=request.max_batch_delay_ms / 1000,
        )
        preload = config.preload_model if request.preload_model is None else request.preload_model
        backend = self._preload_backend if preload else self._backend
        place = Workplace(spec, queue, backend, request.response_timeout_s or config.response_timeout, self._observer)
        pool = WorkerPool(place, self._numbers)
        return Model(request, stored, manifest, queue, pool)


def _check_name(name: str) -> None:
    bad = UNUSABLE_IN_NAME.search(name)
    if bad or name in (".", "..") or name != name.strip() or len(name) > MAX_NAME_CHARACTERS:
        raise BadRequestException(
            f"Model name {name!r} cannot be used in a path: leave out control characters, surrounding blanks "
            f'and / \\ ? # % < > " &, and keep it below {MAX_NAME_CHARACTERS + 1} characters.'
        )


def _round_robin(gpus: int) -> Callable[[], int | None]:
    if gpus <= 0:
        return lambda: None
    ids = itertools.cycle(range(gpus))
    return lambda: next(ids)
