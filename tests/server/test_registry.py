"""The models of a server: how they come, what they are called, who may ask them, and how they go."""

import asyncio
import json
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from fakes import DEADLINE_S, FakeBackend, FakeObserver, until

from mms.protocol.messages import InferenceRequest, Parameter, Prediction
from mms.server.config import Config
from mms.server.errors import (
    BadRequestException,
    ConflictStatusException,
    InvalidModelException,
    MMSError,
    ModelNotFoundException,
    RequestTimeoutException,
    ServiceUnavailableException,
    WorkerDied,
    WorkerInitializationException,
)
from mms.server.model import Model, RegisterModelRequest
from mms.server.model_store import ModelStore, StoredModel
from mms.server.registry import ModelRegistry
from mms.server.workplace import WorkerState

MakeMar = Callable[..., Path]


class GatedStore(ModelStore):
    """A model store whose fetches wait, once they are done, for the gate of their url, if it has one."""

    gates: dict[str, asyncio.Event]

    async def fetch(self, url: str, *, trusted: bool = False) -> StoredModel:
        stored = await super().fetch(url, trusted=trusted)
        if url in self.gates:
            await self.gates[url].wait()
        return stored


class World:
    """A registry on a FakeBackend, and the folders around it."""

    def __init__(self, config: Config) -> None:
        self.backend = FakeBackend()
        self.store = GatedStore(config.model_store, config.temp_dir, allow_private_urls=False)
        self.store.gates = {}
        self.registry = ModelRegistry(config, self.store, self.backend, FakeObserver())
        self._temp = config.temp_dir

    async def register(self, url: str = "echo.mar", workers: int = 0, **request: object) -> Model:
        model = await self.registry.register(
            RegisterModelRequest(url=url, **request)  # type: ignore[arg-type]  # named by the tests
        )
        if workers:
            await self.registry.start_workers(model, workers, wait=True)
        return model

    @property
    def folders(self) -> list[Path]:
        """The folders of unpacked models."""
        return sorted(self._temp.glob("models*/*"))


@pytest.fixture
async def world(config: Callable[..., Config], mar: MakeMar) -> AsyncIterator[Callable[..., World]]:
    """Make worlds of one model store, which holds echo.mar."""
    worlds: list[World] = []
    mar("echo")

    def make(**settings: object) -> World:
        worlds.append(World(config(**settings)))
        return worlds[-1]

    yield make
    for one in worlds:
        one.backend.hold = False
        await one.registry.close(timeout_s=0)
        one.store.close()


def ask(model: Model, name: str = "r") -> "asyncio.Future[object]":
    return model.predict(InferenceRequest(name, b"", [Parameter("body", "", name.encode())]))  # type: ignore[return-value]


async def outcome(future: "asyncio.Future[object]") -> object:
    async with asyncio.timeout(DEADLINE_S):
        [result] = await asyncio.gather(future, return_exceptions=True)
    return result


async def test_registered_model_is_found_and_answers(world: Callable[..., World]) -> None:
    w = world()
    model = await w.register(workers=1)
    assert w.registry.get("echo") is model
    assert await outcome(ask(model, "hi")) == Prediction(b"hi")


async def test_unknown_model_is_not_found(world: Callable[..., World]) -> None:
    with pytest.raises(ModelNotFoundException, match=r"^Model not found: nobody$"):
        world().registry.get("nobody")


async def test_models_are_listed_by_name(world: Callable[..., World]) -> None:
    w = world()
    for name in ("b", "C", "a"):
        await w.register(model_name=name)
    assert [model.name for model in w.registry.models()] == ["C", "a", "b"]


async def test_spec_says_all_that_a_worker_must_know(world: Callable[..., World], mar: MakeMar) -> None:
    w = world(decode_input_request=False, max_response_size=77, number_of_gpu=2)
    model = await w.register(model_name="mine", handler="other.py:f", runtime="python3", batch_size=3, workers=2)
    specs = [worker.spec for worker in w.backend.workers]
    assert [spec.gpu_id for spec in specs] == [0, 1]
    spec = specs[0]
    assert (spec.model_name, spec.handler, spec.runtime, spec.batch_size) == ("mine", "other.py:f", "python3", 3)
    assert (spec.decode_input, spec.max_response_bytes) == (False, 77)
    assert Path(spec.model_dir) == model.stored.folder.resolve()


async def test_worker_numbers_count_from_9000_over_all_models(world: Callable[..., World]) -> None:
    w = world()
    first, second = await w.register(model_name="a", workers=2), await w.register(model_name="b", workers=1)
    assert [slot.number for model in (first, second) for slot in model.pool.slots] == [9000, 9001, 9002]


async def test_response_timeout_of_the_request_wins(world: Callable[..., World]) -> None:
    w = world(default_response_timeout_seconds=60)
    w.backend.hold = True
    model = await w.register(workers=1, response_timeout_s=0.02)
    assert isinstance(await outcome(ask(model)), WorkerDied)


@pytest.mark.parametrize(
    "name", ["a/b", "a\\b", "a?b", "a#b", "a%b", "<b>", 'a"b', "a&b", "a\nb", "\x7f", " a", "a ", ".", "..", "x" * 256]
)
async def test_name_that_no_path_can_carry_is_refused(world: Callable[..., World], name: str) -> None:
    w = world()
    with pytest.raises(BadRequestException, match="cannot be used in a path"):
        await w.register(model_name=name)
    assert (w.registry.models(), w.folders) == ([], [])


@pytest.mark.parametrize("name", ["a", "resnet-18_v1.0", "mit blank", "größe", "a:b", "a@b", "x" * 255])
async def test_other_names_are_fine(world: Callable[..., World], name: str) -> None:
    w = world()
    assert (await w.register(model_name=name)).name == name


async def test_bad_name_of_an_archive_is_refused_and_its_folder_removed(
    world: Callable[..., World], store: Path
) -> None:
    w = world()
    with zipfile.ZipFile(store / "odd.mar", "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps({"model": {"modelName": "a/b", "handler": "x.py"}}))
    with pytest.raises(BadRequestException, match="cannot be used in a path"):
        await w.register("odd.mar")
    assert w.folders == []


async def test_name_in_use_is_a_conflict_before_anything_is_fetched(world: Callable[..., World]) -> None:
    w = world()
    await w.register()
    with pytest.raises(ConflictStatusException, match=r"^Model echo is already registered\.$"):
        await w.register("nowhere.mar", model_name="echo")


async def test_name_of_the_archive_in_use_is_a_conflict_and_leaves_no_folder(world: Callable[..., World]) -> None:
    w = world()
    await w.register()
    with pytest.raises(ConflictStatusException, match=r"^Model echo is already registered\.$"):
        await w.register()
    assert len(w.folders) == 1


@pytest.mark.parametrize("names", [(None, None), ("echo", "echo"), ("echo", None), (None, "echo")])
async def test_of_two_at_the_same_time_one_wins(
    world: Callable[..., World], names: tuple[str | None, str | None]
) -> None:
    w = world()
    results = await asyncio.gather(*(w.register(model_name=name) for name in names), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["ConflictStatusException", "Model"]
    assert len(w.registry.models()) == len(w.folders) == 1


async def test_conflict_does_not_free_the_name_of_the_one_that_is_arriving(world: Callable[..., World]) -> None:
    w = world()
    gate = w.store.gates["echo.mar"] = asyncio.Event()
    first = asyncio.create_task(w.register(model_name="echo"))
    await until(lambda: w.folders)
    w.store.gates.clear()
    for name in (None, "echo"):
        with pytest.raises(ConflictStatusException):
            await w.register(model_name=name)
    gate.set()
    assert (await first).name == "echo"
    assert len(w.folders) == 1


async def test_failed_registration_frees_the_name(world: Callable[..., World]) -> None:
    w = world()
    for _ in range(2):
        with pytest.raises(ModelNotFoundException):
            await w.register("nowhere.mar", model_name="echo")
    assert (await w.register(model_name="echo")).name == "echo"


async def test_cancelled_registration_leaves_nothing(world: Callable[..., World]) -> None:
    w = world()
    registering = asyncio.create_task(w.register(model_name="echo"))
    await until(lambda: w.folders or registering.done())
    registering.cancel()
    await asyncio.gather(registering, return_exceptions=True)
    if not w.registry.models():
        assert w.folders == []
        await w.register(model_name="echo")


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ({"model": {"handler": "x.py"}}, "Model name is not defined."),
        ({"model": {"modelName": "x"}}, "Model handler is not defined."),
        ({"runtime": "java", "model": {"modelName": "x", "handler": "x.py"}}, "Runtime is not defined or invalid."),
        ({"engine": {}, "model": {"modelName": "x", "handler": "x"}}, "engineName is required in <engine>."),
    ],
)
async def test_incomplete_manifest_is_refused_and_its_folder_removed(
    world: Callable[..., World], store: Path, manifest: dict[str, object], message: str
) -> None:
    w = world()
    with zipfile.ZipFile(store / "odd.mar", "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
    with pytest.raises(InvalidModelException) as refused:
        await w.register("odd.mar")
    assert str(refused.value) == message
    assert w.folders == []


async def test_request_and_defaults_complete_a_manifest(world: Callable[..., World], store: Path) -> None:
    w = world(default_service_handler="fallback.py:run")
    with zipfile.ZipFile(store / "bare.mar", "w") as archive:
        archive.writestr("weights.bin", "x")
    model = await w.register("bare.mar", default_name="bare")
    assert (model.name, model.manifest.model.handler) == ("bare", "fallback.py:run")


async def test_client_that_hangs_up_leaves_no_model_that_never_loads(world: Callable[..., World]) -> None:
    w = world()
    model = await w.register()
    gate = w.backend.block_load()
    w.backend.fail_loads()
    starting = asyncio.create_task(w.registry.start_workers(model, 2, wait=True))
    await until(lambda: w.backend.loads == 2)
    starting.cancel()
    await asyncio.wait((starting,))
    assert w.registry.models() == [model]
    gate.set()
    await until(lambda: w.registry.models() == [])


async def test_unknown_runtime_is_refused(world: Callable[..., World]) -> None:
    with pytest.raises(BadRequestException, match=r"^Invalid RuntimeType value: java$"):
        await world().register(runtime="java")


async def test_model_without_workers_is_refused_in_the_words_of_mms(world: Callable[..., World]) -> None:
    model = await world().register()
    with pytest.raises(ServiceUnavailableException) as refused:
        ask(model)
    assert str(refused.value) == (
        "No worker is available to serve request for model: echo. Consider increasing job queue size."
    )


async def test_queue_holds_as_many_requests_as_configured(world: Callable[..., World]) -> None:
    w = world(job_queue_size=2)
    w.backend.hold = True
    model = await w.register(workers=1)
    waiting = [ask(model, str(number)) for number in range(3)]
    with pytest.raises(ServiceUnavailableException):
        ask(model)
    w.backend.hold = False
    w.backend.workers[0].answer()
    assert [await outcome(future) for future in waiting] == [Prediction(b"0"), Prediction(b"1"), Prediction(b"2")]


async def test_workers_that_do_not_load_take_a_new_model_with_them(world: Callable[..., World]) -> None:
    w = world()
    w.backend.fail_loads()
    with pytest.raises(WorkerInitializationException, match="no weights") as failed:
        await w.register(workers=2)
    assert failed.value.status == 500
    assert (w.registry.models(), w.folders, w.backend.alive) == ([], [], [])


async def test_out_of_memory_is_told_apart_from_other_failures(world: Callable[..., World]) -> None:
    w = world()
    w.backend.fail_loads(1, 500)
    w.backend.fail_loads(1, 507)
    with pytest.raises(WorkerInitializationException) as failed:
        await w.register(workers=2)
    assert failed.value.status == 507
    assert w.registry.models() == []


async def test_workers_in_the_background_are_not_waited_for(world: Callable[..., World]) -> None:
    w = world()
    loading = w.backend.block_load()
    model = await w.register()
    assert await w.registry.start_workers(model, 1, wait=False) is False
    asked = ask(model)
    loading.set()
    assert await outcome(asked) == Prediction(b"r")


async def test_scale_waits_for_new_workers_and_for_the_end_of_old_ones(world: Callable[..., World]) -> None:
    w = world()
    model = await w.register(workers=1)
    assert await model.scale(3, 3, wait=True) is True
    assert len(w.backend.alive) == 3
    assert await model.scale(1, 2, wait=True) is True
    assert len(w.backend.alive) == 2
    assert (model.min_workers, model.max_workers) == (1, 2)
    assert await model.scale(0, 0, wait=True) is True
    assert w.backend.alive == []


async def test_scale_waits_for_workers_that_somebody_else_asked_for(world: Callable[..., World]) -> None:
    w = world()
    model = await w.register()
    loading = w.backend.block_load()
    await model.scale(1, 1, wait=False)
    scaling = asyncio.create_task(model.scale(1, 1, wait=True))
    await until(lambda: w.backend.loads)
    assert not scaling.done()
    loading.set()
    assert await scaling is True


async def test_scale_waits_for_those_that_were_loading_before(world: Callable[..., World]) -> None:
    w = world()
    model = await w.register()
    loading = w.backend.block_load()
    await model.scale(1, 1, wait=False)
    await until(lambda: w.backend.loads)
    scaling = asyncio.create_task(model.scale(3, 3, wait=True))
    await until(lambda: len(w.backend.alive) == 2)
    await asyncio.sleep(0.01)
    assert not scaling.done()
    loading.set()
    assert await scaling is True
    assert [slot.state for slot in model.pool.slots] == [WorkerState.READY] * 3


async def test_scaling_down_a_worker_that_loads_is_no_failed_load(world: Callable[..., World]) -> None:
    w = world()
    model = await w.register()
    w.backend.block_load()
    await model.scale(1, 1, wait=False)
    await until(lambda: w.backend.loads)
    assert await model.scale(0, 0, wait=True) is True


async def test_client_that_leaves_does_not_end_the_wait_of_another(world: Callable[..., World]) -> None:
    w = world()
    model = await w.register()
    loading = w.backend.block_load()
    leaves = asyncio.create_task(model.scale(1, 1, wait=True))
    await until(lambda: w.backend.loads)
    stays = asyncio.create_task(model.scale(1, 1, wait=True))
    await asyncio.sleep(0)
    leaves.cancel()
    await asyncio.gather(leaves, return_exceptions=True)
    assert not stays.done()
    loading.set()
    assert await stays is True


async def test_failed_scale_keeps_the_model(world: Callable[..., World]) -> None:
    w = world()
    model = await w.register(workers=1)
    w.backend.fail_loads()
    with pytest.raises(WorkerInitializationException):
        await model.scale(2, 2, wait=True)
    assert w.registry.get("echo") is model
    assert await outcome(ask(model)) == Prediction(b"r")


async def test_unregister_ends_workers_and_removes_files(world: Callable[..., World]) -> None:
    w = world()
    await w.register(workers=2)
    await w.registry.unregister("echo")
    assert (w.registry.models(), w.folders, w.backend.alive) == ([], [], [])
    with pytest.raises(ModelNotFoundException):
        await w.registry.unregister("echo")


async def test_unregister_of_one_leaves_another_of_the_same_archive(world: Callable[..., World]) -> None:
    w = world()
    await w.register(model_name="a", workers=1)
    other = await w.register(model_name="b", workers=1)
    await w.registry.unregister("a")
    assert (other.stored.folder / "echo.py").is_file()
    assert await outcome(ask(other)) == Prediction(b"r")


async def test_unregister_finishes_what_runs_and_refuses_what_waits(world: Callable[..., World]) -> None:
    w = world()
    w.backend.hold = True
    model = await w.register(workers=1)
    running, queued = ask(model, "a"), ask(model, "b")
    leaving = asyncio.create_task(w.registry.unregister("echo"))
    refused = await outcome(queued)
    assert isinstance(refused, ServiceUnavailableException)
    with pytest.raises(MMSError):
        ask(model)
    w.backend.workers[0].answer()
    assert await outcome(running) == Prediction(b"a")
    await leaving


async def test_unregister_that_takes_too_long_says_so_and_ends_everything(world: Callable[..., World]) -> None:
    w = world(unregister_model_timeout=0.02)
    w.backend.hold = True
    model = await w.register(workers=1)
    running = ask(model)
    with pytest.raises(RequestTimeoutException, match=r"^Timed out while cleaning resources: echo$"):
        await w.registry.unregister("echo")
    assert isinstance(await outcome(running), WorkerDied)
    assert (w.registry.models(), w.folders, w.backend.alive) == ([], [], [])


async def test_client_that_leaves_does_not_stop_an_unregistration(world: Callable[..., World]) -> None:
    w = world()
    w.backend.hold = True
    model = await w.register(workers=1)
    running = ask(model)
    leaving = asyncio.create_task(w.registry.unregister("echo"))
    await until(lambda: model.pool.slots[0].state is WorkerState.UNLOADING)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    w.backend.workers[0].answer()
    assert await outcome(running) == Prediction(b"r")
    await until(lambda: not w.folders and not w.backend.alive)


async def test_unregister_while_workers_load_fails_whoever_waits_for_them(world: Callable[..., World]) -> None:
    w = world()
    w.backend.block_load()
    model = await w.register()
    starting = asyncio.create_task(w.registry.start_workers(model, 1, wait=True))
    await until(lambda: w.backend.loads)
    await w.registry.unregister("echo")
    with pytest.raises(WorkerInitializationException):
        await starting
    assert (w.registry.models(), w.folders) == ([], [])


async def test_name_is_free_again_after_unregistering(world: Callable[..., World]) -> None:
    w = world()
    await w.register(at_startup=True)
    await w.registry.unregister("echo")
    assert (await w.register()).loaded_at_startup is False


async def test_close_ends_all_models(world: Callable[..., World]) -> None:
    w = world()
    for name in ("a", "b"):
        await w.register(model_name=name, workers=1)
    await w.registry.close(timeout_s=DEADLINE_S)
    assert (w.registry.models(), w.folders, w.backend.alive) == ([], [], [])


async def test_request_without_a_name_means_the_only_startup_model(world: Callable[..., World]) -> None:
    w = world()
    assert w.registry.only_startup_model() is None
    await w.register(model_name="a", at_startup=True)
    await w.register(model_name="b")
    assert w.registry.only_startup_model() == "a"
    await w.register(model_name="c", at_startup=True)
    assert w.registry.only_startup_model() is None


async def test_health_compares_what_runs_with_what_is_wanted(world: Callable[..., World]) -> None:
    w = world()
    assert w.registry.health() == "Healthy"
    model = await w.register()
    assert w.registry.health() == "Healthy"
    await model.scale(2, 2, wait=True)
    assert w.registry.health() == "Healthy"
    w.backend.workers[0].die()
    await until(lambda: model.pool.running == 1)
    assert w.registry.health() == "Partial Healthy"
    w.backend.workers[1].die()
    await until(lambda: model.pool.running == 0)
    assert w.registry.health() == "Unhealthy"
    await model.scale(0, 0, wait=True)
    assert w.registry.health() == "Healthy"


async def test_memory_of_all_workers_is_read(world: Callable[..., World]) -> None:
    w = world()
    model = await w.register(workers=2)
    await asyncio.to_thread(w.registry.refresh_memory)
    assert [slot.memory_bytes for slot in model.pool.slots] == [1 << 20, 1 << 20]
