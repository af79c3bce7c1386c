"""mxnet-model-server: the front end is `mms.server`, the worker process is `mms.worker`, handlers import `mms.service`."""

from mms.version import __version__

__all__ = ["__version__"]
