"""Puts together what answers at each address of a server. Runs in the front process."""

from collections.abc import Sequence

from mms.plugin import EndpointType
from mms.server.config import Config
from mms.server.http import openapi
from mms.server.http.app import Api, Front
from mms.server.http.connection import Server
from mms.server.http.express import ExpressLane, Sink
from mms.server.http.inference import InferenceApi
from mms.server.http.listener import Listener
from mms.server.http.management import ManagementApi
from mms.server.http.plugin_api import PluginApi, described
from mms.server.plugins import Plugin, config_texts
from mms.server.registry import ModelRegistry


def make_listeners(
    config: Config, registry: ModelRegistry, sink: Sink, plugins: Sequence[Plugin], *, count: int
) -> list[Listener]:
    """Return one listener for both APIs, or one for each; the first has the predictions. None is open yet."""
    fronts = _fronts(config, registry, plugins, count=count)
    lane = ExpressLane(registry, sink, max_request_bytes=config.max_request_size, cors=fronts[0].cors)
    has_lane = all(plugin.url_pattern != "predictions" for plugin in plugins)
    servers = [
        Server(front, sink, lane=lane if has_lane and front is fronts[0] else None, lenient=config.lenient_http)
        for front in fronts
    ]
    return [Listener(server, shutdown_timeout_s=config.shutdown_timeout) for server in servers]


def _fronts(config: Config, registry: ModelRegistry, plugins: Sequence[Plugin], *, count: int) -> list[Front]:
    inference = InferenceApi(registry, max_request_bytes=config.max_request_size)
    management = ManagementApi(
        registry, default_workers=config.default_workers_per_model, max_request_bytes=config.max_request_size
    )

    def front(plugins: Sequence[Plugin], apis: Sequence[Api], description: openapi.Json) -> Front:
        if plugins:
            limit = config.max_request_size
            apis = [PluginApi(plugins, registry, config_texts(config), max_request_bytes=limit), *apis]
            description = described(description, plugins)
        return Front(config, apis, description)

    if count == 1:
        return [front(plugins, [inference, management], openapi.combined_description())]
    of_inference = [plugin for plugin in plugins if plugin.endpoint_type is EndpointType.INFERENCE]
    of_management = [plugin for plugin in plugins if plugin.endpoint_type is EndpointType.MANAGEMENT]
    return [
        front(of_inference, [inference], openapi.inference_description()),
        front(of_management, [management], openapi.management_description()),
    ]
