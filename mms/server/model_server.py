"""The server itself: owns everything, starts it in order and ends it in reverse. Runs in the front process."""

import asyncio
import contextlib
import errno
import gc
import logging
import re
import signal
import socket
import stat
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mms.server.backends import Warmable, load_backend, load_preload_backend
from mms.server.config import Address, Config, StartupModel
from mms.server.errors import MMSError
from mms.server.logs import Logs, startup_summary
from mms.server.model import RegisterModelRequest
from mms.server.model_store import ModelStore
from mms.server.monitor import Monitor
from mms.server.plugins import load_plugins
from mms.server.registry import ModelRegistry
from mms.server.tls import server_context

if TYPE_CHECKING:
    from mms.server.http.listener import Listener

logger = logging.getLogger(__name__)


class ModelServer:
    """One server: its models, its workers and its listeners."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._stop = asyncio.Event()
        self._starting: asyncio.Task[None] | None = None
        """The task of `run`, until the server is ready."""
        self.addresses: list[str] = []
        """Where the server listens, with the ports that were really taken; inference first."""

    async def run(self, *, on_ready: Callable[[], None]) -> None:
        """Serve until SIGTERM, SIGINT or `stop`; `on_ready` is called once both APIs listen.

        A start that fails raises MMSError, ConfigurationError or OSError, with everything closed again.
        """
        self._starting = asyncio.current_task()
        try:
            await self._serve(on_ready)
        except asyncio.CancelledError:
            # `stop` during the start; everything that was opened has been closed on the way here.
            if not self._stop.is_set() or self._starting is None:
                raise
            self._starting.uncancel()

    async def _serve(self, on_ready: Callable[[], None]) -> None:
        config = self._config
        async with contextlib.AsyncExitStack() as stack:
            logs = stack.enter_context(contextlib.closing(Logs(config)))
            stack.enter_context(self._signals())
            # One entry of many lines, as in MMS.
            summary = "\n".join(["", *startup_summary(config)])
            logger.info(summary)
            for warning in config.warnings:
                logger.warning("%s", warning)
            plugins = load_plugins(config.plugins)
            sockets = [stack.enter_context(contextlib.closing(_bind(address))) for address in self._listen_on()]
            store = ModelStore(config.model_store, config.temp_dir, allow_private_urls=config.allow_private_urls)
            stack.callback(store.close)
            backend = load_backend(config)
            stack.push_async_callback(backend.close)
            if isinstance(backend, Warmable):
                backend.warm_up()
            preload_backend = load_preload_backend(config, backend)
            if preload_backend is not backend:
                stack.push_async_callback(preload_backend.close)
            registry = ModelRegistry(config, store, backend, logs, preload_backend=preload_backend)
            stack.push_async_callback(self._close_registry, registry)
            await stack.enter_async_context(_running(Monitor(config, logs, registry.refresh_memory).run()))
            starting = await self._load_startup_models(registry, store)
            stack.callback(starting.cancel)
            # Half of a start is importing what speaks HTTP. Late: the processes that were just begun start meanwhile.
            await asyncio.sleep(0)
            from mms.server.http.listeners import make_listeners

            made = make_listeners(config, registry, logs, plugins, count=len(sockets))
            listeners = [
                await stack.enter_async_context(self._listening(address, sock, listener))
                for address, sock, listener in zip(self._listen_on(), sockets, made, strict=True)
            ]
            # What exists now stays: the garbage collector need not look at it again and again.
            gc.freeze()
            gc.enable()
            logger.info("Model server started.")
            self._starting = None
            on_ready()
            await self._stop.wait()
            logger.info("Model server is stopping.")
            await self._wind_down(listeners, registry)

    def stop(self) -> None:
        """Ask the server to end; `run` returns when it has."""
        self._stop.set()
        if self._starting is not None:
            # A download or the first load of a model may take long, and nobody waits for it any more.
            self._starting.cancel()

    def _listen_on(self) -> list[Address]:
        config = self._config
        # Port 0 twice is two ports; a UNIX socket has none.
        is_one_place = config.inference_address.scheme == "unix" or config.inference_address.port != 0
        if config.inference_address == config.management_address and is_one_place:
            return [config.inference_address]
        return [config.inference_address, config.management_address]

    @contextlib.asynccontextmanager
    async def _listening(
        self, address: Address, sock: socket.socket, listener: "Listener"
    ) -> AsyncIterator["Listener"]:
        context = server_context(self._config) if address.is_tls else None
        try:
            try:
                await listener.open(sock, context)
            except OSError as exc:
                raise _bind_error(address, exc) from exc
            # Port 0 has become a real one.
            found = address if address.scheme == "unix" else replace(address, port=sock.getsockname()[1])
            self.addresses.append(str(found))
            logger.info("Listening on %s", self.addresses[-1])
            yield listener
        finally:
            await listener.close()
            if address.scheme == "unix":
                await asyncio.to_thread(Path(address.path).unlink, missing_ok=True)

    async def _wind_down(self, listeners: list["Listener"], registry: ModelRegistry) -> None:
        """Take no more requests, and give those that are here `shutdown_timeout` seconds in all; then end them."""
        closings = [asyncio.create_task(listener.close()) for listener in listeners]
        _, late = await asyncio.wait(closings, timeout=self._config.shutdown_timeout)
        if late:
            logger.warning("Requests are still running after %g s and are ended.", self._config.shutdown_timeout)
            await registry.close(timeout_s=0)
        await asyncio.gather(*closings)

    async def _load_startup_models(self, registry: ModelRegistry, store: ModelStore) -> "asyncio.Task[None]":
        """Register what the operator asked for, and start their workers in the background."""
        wanted = self._config.load_models
        if wanted == "ALL":
            wanted = tuple(StartupModel(url) for url in store.entries())
        models = []
        for item in wanted:
            default_name = re.sub(r"\W", "_", Path(item.url).stem)
            request = RegisterModelRequest(
                url=item.url, model_name=item.name, default_name=default_name, at_startup=True
            )
            try:
                models.append(await registry.register(request))
            except MMSError as exc:
                logger.warning("Failed to load model: %s: %s", item, exc)

        async def start() -> None:
            count = self._config.startup_workers
            await asyncio.gather(*(model.scale(count, count, wait=False) for model in models))

        return asyncio.create_task(start(), name="startup-models")

    async def _close_registry(self, registry: ModelRegistry) -> None:
        await registry.close(timeout_s=self._config.shutdown_timeout)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)


@contextlib.asynccontextmanager
async def _running(coroutine: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run something beside the server, and end it with the server."""
    task = asyncio.create_task(coroutine)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _bind(address: Address) -> socket.socket:
    """Make the socket of a listener. It does not listen yet; OSError says which address is the trouble."""
    try:
        if address.scheme == "unix":
            return _bind_unix(Path(address.path))
        family, *_, endpoint = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(endpoint)
        except BaseException:
            sock.close()
            raise
    except OSError as exc:
        raise _bind_error(address, exc) from exc
    return sock


def _bind_unix(path: Path) -> socket.socket:
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise OSError(errno.EADDRINUSE, "another server listens there")
        # Left behind by a server that was killed.
        path.unlink()
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.bind(str(path))
    except BaseException:
        sock.close()
        raise
    return sock


def _bind_error(address: Address, exc: OSError) -> OSError:
    hint = "; another program listens there" if exc.errno == errno.EADDRINUSE else ""
    return OSError(exc.errno, f"Failed to bind to address {address}: {exc.strerror or exc}{hint}")
