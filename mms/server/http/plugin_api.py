"""Hands requests to endpoint plugins and turns what they give into answers. Runs in the front process."""

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mms.headers import check_header, check_status, check_text
from mms.plugin import Context, EndpointMethod, Model, Request, Response, Worker
from mms.server.errors import MethodNotAllowedException
from mms.server.http import web
from mms.server.http.answer import Answer, error_answer
from mms.server.http.payload import read_body
from mms.server.http.target import Target
from mms.server.model import Model as RegisteredModel
from mms.server.plugins import Plugin
from mms.server.registry import ModelRegistry
from mms.server.workplace import WorkerState

MAX_THREADS = 16
"""Blocking calls of one plugin at the same time; further ones wait."""


class PluginApi:
    """Answers the paths of plugins. Comes before the server's own APIs, whose routes a plugin may so replace."""

    def __init__(
        self, plugins: Iterable[Plugin], registry: ModelRegistry, config: Mapping[str, str], *, max_request_bytes: int
    ) -> None:
        self._places = {plugin.url_pattern: _Place(plugin) for plugin in plugins}
        self._registry = registry
        self._config = config
        self._max_request_bytes = max_request_bytes

    async def answer(self, request: web.BaseRequest, target: Target, request_id: str) -> Answer | None:
        """Answer a request, or return None if it belongs to no plugin. Raises whatever the plugin raises."""
        place = self._places.get(target.segments[0]) if target.segments else None
        if place is None:
            return None
        method = place.plugin.methods.get("GET" if request.method == "HEAD" else request.method)
        if method is None:
            return _not_allowed(place.plugin)
        body = await read_body(request, self._max_request_bytes)
        response = Response()
        await place.call(method, _request(request, target, body), response, self._context())
        return _answer(response)

    def _context(self) -> Context:
        return Context(config=self._config, models={model.name: _model(model) for model in self._registry.models()})


class _Place:
    """One plugin and the threads that it takes."""

    def __init__(self, plugin: Plugin) -> None:
        self.plugin = plugin
        self._free = asyncio.Semaphore(MAX_THREADS)

    async def call(self, method: EndpointMethod, request: Request, response: Response, context: Context) -> None:
        """Run a method: in the loop if it is async, else in a thread."""
        if inspect.iscoroutinefunction(method):
            result: Any = method(request, response, context)
        else:
            result = await self._in_thread(method, request, response, context)
        if inspect.isawaitable(result):
            try:
                await result
            except SystemExit as exc:
                raise _harmless(exc) from exc

    async def _in_thread(self, method: EndpointMethod, *arguments: Any) -> object:
        # A thread of its own, and a daemon: one that never returns must not keep the server from ending, which a
        # ThreadPoolExecutor's would. It keeps its place until it has ended, even if the client has left.
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[object] = loop.create_future()

        def ended(result: object, error: BaseException | None) -> None:
            self._free.release()
            if outcome.done():
                return
            if error is None:
                outcome.set_result(result)
            else:
                outcome.set_exception(_harmless(error))

        def work() -> None:
            result, error = None, None
            try:
                result = method(*arguments)
            except BaseException as exc:  # raised again where it is awaited
                error = exc
            with contextlib.suppress(RuntimeError):  # the loop is closed: the server has ended meanwhile
                loop.call_soon_threadsafe(ended, result, error)

        threading.Thread(target=work, name=f"plugin-{self.plugin.name}", daemon=True).start()
        return await outcome


def described(document: Mapping[str, Any], plugins: Sequence[Plugin]) -> dict[str, Any]:
    """Return an API description with the paths of plugins, in place of those of the server that they hide."""
    hidden = {plugin.url_pattern for plugin in plugins}
    paths = {path: item for path, item in document["paths"].items() if path.split("/")[1] not in hidden}
    return {**document, "paths": paths | {f"/{plugin.url_pattern}": _path_item(plugin) for plugin in plugins}}


def _path_item(plugin: Plugin) -> dict[str, Any]:
    return {
        method.lower(): {
            "description": plugin.description or f"Endpoint plugin {plugin.name}.",
            "operationId": f"{plugin.name}-{method.lower()}",
            "parameters": [],
            "responses": {"200": {"description": "What the plugin answers."}},
        }
        for method in plugin.methods
    }


def _request(request: web.BaseRequest, target: Target, body: bytes) -> Request:
    parameters: dict[str, tuple[str, ...]] = {}
    for name, value in target.query:
        parameters[name] = (*parameters.get(name, ()), value)
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        name = name.lower()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Request(
        method=request.method,
        uri=request.raw_path,
        path="/" + "/".join(target.segments),
        parameters=parameters,
        headers=headers,
        body=body,
    )


def _model(model: RegisteredModel) -> Model:
    workers = (Worker(slot.state is WorkerState.READY, slot.memory_bytes) for slot in model.pool.slots)
    return Model(model.name, model.url, model.manifest.model.handler or "", tuple(workers))


def _answer(response: Response) -> Answer:
    """Turn a response into an answer. Checked again: its fields are open to the plugin."""
    reason = None if response.reason is None else check_text("The reason phrase", response.reason)
    headers = [check_header(name, value) for name, value in response.headers]
    return Answer(bytes(response.body), status=check_status(response.status), reason=reason, headers=headers)


def _not_allowed(plugin: Plugin) -> Answer:
    answer = error_answer(MethodNotAllowedException())
    methods = [*plugin.methods, "HEAD"] if "GET" in plugin.methods else plugin.methods
    answer.headers = [*answer.headers, ("Allow", ", ".join(methods))]  # RFC 9110, section 15.5.6
    return answer


def _harmless(error: BaseException) -> Exception:
    """Return an error that ends a request and nothing else: `sys.exit()` in a plugin would end the server."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    harmless = RuntimeError(f"An endpoint plugin raised {type(error).__name__}: {error}")
    harmless.__cause__ = error
    return harmless
