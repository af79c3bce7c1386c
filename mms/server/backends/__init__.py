"""Worker backends by name, imported when chosen. Runs in the front process."""

from importlib import import_module

from mms.server.backends.base import WorkerBackend
from mms.server.config import Config
from mms.server.errors import ConfigurationError

BACKENDS = {"process": "mms.server.backends.process:ProcessBackend"}


def load_backend(config: Config) -> WorkerBackend:
    """Make the backend that `worker_backend` names: a key of BACKENDS, or `package.module:Class`.

    The class is called with the Config. Raises ConfigurationError for a name that leads nowhere.
    """
    target = BACKENDS.get(config.worker_backend, config.worker_backend)
    module_name, _, class_name = target.partition(":")
    if not class_name:
        raise ConfigurationError(
            f"worker_backend {config.worker_backend!r} is unknown: "
            f"use one of {', '.join(sorted(BACKENDS))}, or package.module:Class."
        )
    try:
        backend: WorkerBackend = getattr(import_module(module_name), class_name)(config)
    except (ImportError, AttributeError) as exc:
        raise ConfigurationError(f"worker_backend {config.worker_backend!r} cannot be loaded: {exc}") from exc
    return backend
