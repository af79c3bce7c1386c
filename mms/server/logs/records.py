"""From Python's log records to the lines of mms_log.log: names, levels and threads as in MMS. Front process."""

import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from mms.server.logs.escape import many_lines
from mms.server.logs.layout import SERVER
from mms.server.logs.pattern import Line

LIFE_CYCLE: Final = f"{SERVER}.wlm.WorkerLifeCycle"

# People search their logs for MMS's class names. A module that is not here keeps its own name behind the prefix.
_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "mms.server.backends.process": LIFE_CYCLE,
        "mms.server.backends.host": LIFE_CYCLE,
        "mms.server.backends.warm": LIFE_CYCLE,
        "mms.server.cli": f"{SERVER}.ModelServer",
        "mms.server.http.app": f"{SERVER}.http.HttpRequestHandler",
        "mms.server.http.inference": f"{SERVER}.http.InferenceRequestHandler",
        "mms.server.http.management": f"{SERVER}.http.ManagementRequestHandler",
        # MMS looks for the startup models of a store in its main class.
        "mms.server.model_store": f"{SERVER}.ModelServer",
        "mms.server.model_server": f"{SERVER}.ModelServer",
        "mms.server.download": f"{SERVER}.archive.ModelArchive",
        "mms.server.monitor": f"{SERVER}.metrics.MetricCollector",
        "mms.server.slot": f"{SERVER}.wlm.WorkerThread",
        "mms.server.model": f"{SERVER}.wlm.Model",
        "mms.server.registry": f"{SERVER}.wlm.ModelManager",
        "mms.server.tls": f"{SERVER}.util.ConfigManager",
    }
)
_LEVELS: Final = (
    (logging.CRITICAL, "FATAL"),
    (logging.ERROR, "ERROR"),
    (logging.WARNING, "WARN"),
    (logging.INFO, "INFO"),
)
_HARMLESS: Final = (int, float, type(None))


class LineHandler(logging.Handler):
    """Turns every record into a Line and hands it on.

    `extra={"thread_name": ...}` gives the line the name of one of MMS's threads, such as `W-9000-echo`.
    """

    def __init__(self, put: Callable[[Line], None], wait: Callable[[], None]) -> None:
        super().__init__()
        self._put = put
        self._wait = wait
        self._traceback = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            thread = getattr(record, "thread_name", None) or record.threadName or "main"
            self._put(
                Line(
                    created=record.created,
                    level=level_name(record.levelno),
                    thread="main" if thread == "MainThread" else str(thread),
                    logger=mms_name(record.name),
                    message=self._message(record),
                )
            )
        except Exception:  # as every handler: a bad log call must not end what made it
            self.handleError(record)

    def flush(self) -> None:
        self._wait()

    def _message(self, record: logging.LogRecord) -> str:
        """Return the text. What was put into it may come from anywhere; only the text itself is ours."""
        args = record.args
        if isinstance(args, Mapping):
            message = record.msg % {key: _safe(value) for key, value in args.items()}
        elif args:
            message = str(record.msg) % tuple(_safe(value) for value in args)
        else:
            message = str(record.msg)
        if record.exc_info:
            message += "\n" + many_lines(self._traceback.formatException(record.exc_info))
        return message


def level_name(level: int) -> str:
    """Return log4j's word for a level of the logging module."""
    return next((name for least, name in _LEVELS if level >= least), "DEBUG")


def mms_name(logger: str) -> str:
    """Return the name that MMS would log under, for loggers of the server; others keep theirs."""
    if logger in _NAMES:
        return _NAMES[logger]
    if logger.startswith("mms.server."):
        return SERVER + logger.removeprefix("mms.server")
    return logger


def _safe(value: object) -> object:
    return value if isinstance(value, _HARMLESS) else many_lines(str(value))
