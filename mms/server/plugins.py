"""Endpoint plugins: finds those that the configuration names, and checks them. Runs in the front process, at the start.

Nothing is loaded that is not named: a plugin is code with the rights of the server.
"""

import importlib.metadata
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.metadata import EntryPoint

from mms.plugin import EndpointMethod, EndpointType, ModelServerEndpoint
from mms.server.config import Config
from mms.server.errors import ConfigurationError

logger = logging.getLogger(__name__)

GROUP = "mms.endpoints"
SHIPPED = (
    EntryPoint("execution-parameters", "mms.sagemaker:ExecutionParameters", GROUP),
    EntryPoint("sagemaker-ping", "mms.sagemaker:Ping", GROUP),
)
"""Those of this distribution. Here and not in its metadata, so that a checkout that is not installed has them too."""
METHODS = ("GET", "POST", "PUT", "DELETE")
RESERVED = "api-description"
NOT_IN_A_SEGMENT = re.compile(r"[^A-Za-z0-9_.~-]")


@dataclass(frozen=True, slots=True)
class Plugin:
    """One plugin, made and ready to answer."""

    name: str
    url_pattern: str
    endpoint_type: EndpointType
    description: str
    methods: Mapping[str, EndpointMethod]
    """By HTTP method: those that the class has."""


def load_plugins(names: Sequence[str]) -> list[Plugin]:
    """Load the plugins of these names and make their objects. Raises ConfigurationError that names the plugin."""
    plugins: dict[str, Plugin] = {}
    for name in dict.fromkeys(names):
        plugin = _make(name, _find(name))
        if (other := plugins.get(plugin.url_pattern)) is not None:
            raise ConfigurationError(
                f"The endpoint plugins {other.name} and {name} have the same url_pattern: {plugin.url_pattern}"
            )
        plugins[plugin.url_pattern] = plugin
        logger.info("Endpoint plugin %s answers /%s (%s).", name, plugin.url_pattern, plugin.endpoint_type)
    return list(plugins.values())


def config_texts(config: Config) -> dict[str, str]:
    """Return the settings as plugins see them: every key that has a value, as in config.properties, no passwords."""
    values = {key.name: getattr(config, key.name) for key in fields(config) if key.repr and key.name != "warnings"}
    return {name: _text(value) for name, value in values.items() if value not in (None, ())}


def _text(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case tuple():
            return ",".join(map(str, value))
        case re.Pattern():
            return str(value.pattern)
        case float():
            return str(value).removesuffix(".0")
        case _:
            return str(value)


def _entry_points() -> Iterator[EntryPoint]:
    yield from SHIPPED
    yield from importlib.metadata.entry_points(group=GROUP)


def _find(name: str) -> EntryPoint:
    """Return the one entry point of that name."""
    # A distribution that is on the path twice is no conflict.
    found = {point.value: point for point in _entry_points() if point.name == name}
    if not found:
        known = ", ".join(sorted({point.name for point in _entry_points()}))
        raise ConfigurationError(f"Unknown endpoint plugin {name}. Installed are: {known}")
    if len(found) > 1:
        raise ConfigurationError(f"Several distributions have an endpoint plugin {name}: {', '.join(sorted(found))}")
    return next(iter(found.values()))


def _make(name: str, point: EntryPoint) -> Plugin:
    where = f"Endpoint plugin {name} ({point.value})"
    try:
        endpoint_class = point.load()
        is_plugin = isinstance(endpoint_class, type) and issubclass(endpoint_class, ModelServerEndpoint)
        endpoint = endpoint_class() if is_plugin else None
    except Exception as exc:
        # Somebody else's code: the log has the whole story, the terminal one line.
        logger.exception("%s cannot be loaded", where)
        raise ConfigurationError(f"{where} cannot be loaded: {type(exc).__name__}: {exc}") from exc
    if not isinstance(endpoint, ModelServerEndpoint):
        raise ConfigurationError(f"{where} is no class derived from mms.plugin.ModelServerEndpoint.")
    methods = {method: getattr(endpoint, f"do_{method.lower()}", None) for method in METHODS}
    defined = {method: function for method, function in methods.items() if callable(function)}
    if not defined:
        raise ConfigurationError(f"{where} has none of do_get, do_post, do_put and do_delete.")
    return Plugin(name, _pattern(where, endpoint), _type(where, endpoint), str(endpoint.description), defined)


def _pattern(where: str, endpoint: ModelServerEndpoint) -> str:
    pattern = getattr(endpoint, "url_pattern", None)
    if not isinstance(pattern, str) or not pattern.strip("/"):
        raise ConfigurationError(f"{where} has no url_pattern.")
    pattern = pattern.strip("/")
    if NOT_IN_A_SEGMENT.search(pattern):
        raise ConfigurationError(f"{where}: the url_pattern {pattern!r} is not one segment of a plain path.")
    if pattern == RESERVED:
        raise ConfigurationError(f"{where}: /{RESERVED} belongs to the server.")
    return pattern


def _type(where: str, endpoint: ModelServerEndpoint) -> EndpointType:
    try:
        return EndpointType(str(endpoint.endpoint_type).lower())
    except ValueError:
        raise ConfigurationError(
            f"{where}: endpoint_type must be inference or management, not {endpoint.endpoint_type!r}."
        ) from None
