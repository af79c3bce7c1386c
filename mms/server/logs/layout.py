"""Which lines go where: five streams, each with a level and with targets. Front process."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from mms.server.config import Config

# The streams bear the names of MMS's loggers.
ACCESS: Final = "ACCESS_LOG"
MODEL: Final = "MODEL_LOG"
MODEL_METRICS: Final = "MODEL_METRICS"
MMS_METRICS: Final = "MMS_METRICS"
SERVER: Final = "com.amazonaws.ml.mms"

STREAMS: Final = (ACCESS, MODEL, MODEL_METRICS, MMS_METRICS, SERVER)

LONG_PATTERN: Final = "%d{ISO8601} [%-5p] %t %c - %m%n"
SHORT_PATTERN: Final = "%d{ISO8601} - %m%n"
_MB: Final = 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class FileTarget:
    """A log file and when it is rolled."""

    path: Path
    pattern: str
    rolled_path: str
    """Pattern of the names of rolled files, such as `logs/x.%d{dd-MMM}.log.gz`; compressed if it ends in `.gz`."""
    max_bytes: int = 100 * _MB
    daily: bool = True
    keep: int = 5
    """How many rolled files stay."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConsoleTarget:
    """Standard output, or standard error."""

    pattern: str
    stderr: bool = False


Target = FileTarget | ConsoleTarget


@dataclass(frozen=True, slots=True)
class Stream:
    """Where the lines of one stream go, and the least level (of the logging module) that passes."""

    level: int
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class LogLayout:
    """The whole plan."""

    streams: Mapping[str, Stream]
    root_level: int = logging.INFO
    """For loggers that are not ours, such as asyncio's; they share the stream of the server."""


def default_layout(config: Config) -> LogLayout:
    """Return MMS's five files, with the server's own log on the console too.

    MMS's model_log.log was always empty; here it gets what workers print, which is in mms_log.log as well.
    """
    logs, metrics = config.log_location, config.metrics_location

    def file(folder: Path, name: str, pattern: str) -> FileTarget:
        rolled = f"{folder}/{name}.%d{{dd-MMM}}.log.gz"
        return FileTarget(path=folder / f"{name}.log", pattern=pattern, rolled_path=rolled)

    server = (file(logs, "mms_log", LONG_PATTERN), ConsoleTarget(pattern=LONG_PATTERN))
    info = logging.INFO
    streams = {
        ACCESS: Stream(info, (file(logs, "access_log", SHORT_PATTERN),)),
        MODEL: Stream(info, (file(logs, "model_log", LONG_PATTERN),)),
        MODEL_METRICS: Stream(info, (file(metrics, "model_metrics", SHORT_PATTERN),)),
        MMS_METRICS: Stream(info, (file(metrics, "mms_metrics", SHORT_PATTERN),)),
        SERVER: Stream(logging.DEBUG if config.debug else info, server),
    }
    return LogLayout(MappingProxyType(streams))
