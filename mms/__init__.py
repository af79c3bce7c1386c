"""mxnet-model-server: `mms.server` is the front end, `mms.worker` the worker process; handlers import `mms.service`."""

from mms.version import __version__

__all__ = ["__version__"]
