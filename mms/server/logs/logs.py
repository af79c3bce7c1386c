"""`Logs`: everything the front process writes down, in MMS's five files and on the console. Front process."""

import json
import logging
import logging.config
import socket
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mms.protocol.messages import MetricRecord
from mms.server.config import Config
from mms.server.errors import ConfigurationError
from mms.server.logs.batcher import Batcher
from mms.server.logs.escape import one_line
from mms.server.logs.layout import (
    ACCESS,
    MMS_METRICS,
    MODEL,
    MODEL_METRICS,
    SERVER,
    ConsoleTarget,
    LogLayout,
    Target,
    default_layout,
)
from mms.server.logs.log4j import UnreadableLogConfig, read_log4j
from mms.server.logs.pattern import Layout, Line, compile_pattern
from mms.server.logs.records import LIFE_CYCLE, LineHandler
from mms.server.logs.sinks import Console, RollingFile

logger = logging.getLogger(__name__)

Entry = tuple[str, int, Callable[..., Line], tuple[Any, ...]]
"""Stream, level, and what makes the line: called when it is written, off the event loop, and only if it is wanted."""

_INTERVAL_S = 0.15
_LINES_AT_ONCE = 32


@dataclass(slots=True)
class _Outlet:
    """One file, or the console, and what the current batch has for it."""

    layout: Layout
    sink: RollingFile | Console
    texts: list[str] = field(default_factory=list)


class Logs:
    """The log files of one server, and the handler of the root logger while it is open.

    All methods return at once: lines are kept in memory, and a thread formats and writes them every 0.15 s.
    With a Python logging configuration (`--log-config` in JSON or TOML) lines go to loggers of MMS's names instead.
    Raises ConfigurationError when that configuration cannot be used.
    """

    def __init__(self, config: Config) -> None:
        self._host = socket.gethostname()
        self._outlets: dict[Target, _Outlet] = {}
        self._routes: dict[str, tuple[int, list[_Outlet]]] = {}
        self._handler: LineHandler | None = None
        self._problems: list[str] = []
        self._layout = self._plan(config)
        self._batcher: Batcher[Entry] = Batcher(self._write, name="log-writer", interval_s=_INTERVAL_S)
        self._levels_before: dict[str, int] = {}
        if self._layout is not None:
            self._open_outlets(self._layout)
            self._install(self._layout)
        for problem in self._problems:
            logger.warning("%s", problem)

    def access(self, peer: str, method: str, target: str, version: str, status: int, milliseconds: int) -> None:
        """Record one answer: `/127.0.0.1:56506 "POST /predictions/x HTTP/1.1" 200 4`; `peer` is without the slash."""
        request = (time.time(), peer, method, target, version, status, milliseconds)
        self._batcher.put((ACCESS, logging.INFO, _access_line, request))

    def request_metric(self, status: int) -> None:
        """Count one answer by the class of its status."""
        self.metric(f"Requests{status // 100}XX", "Count", 1)

    def metric(self, name: str, unit: str, value: float | str, *, dimensions: Sequence[str] = ("Level:Host",)) -> None:
        """Record one value that concerns the server or its host."""
        measured = (time.time(), name, unit, value, dimensions, self._host)
        self._batcher.put((MMS_METRICS, logging.INFO, _metric_line, measured))

    def worker_loaded(self, model_name: str, number: int, milliseconds: int) -> None:
        """Record how long a worker took to start and load its model."""
        self.metric(f"W-{number}-{model_name[:25]}", "ms", milliseconds)

    def model_metrics(self, records: Sequence[MetricRecord]) -> None:
        """Record what handlers measured during one batch."""
        created = time.time()
        for record in records:
            self._batcher.put((MODEL_METRICS, logging.INFO, _model_metric_line, (created, record, self._host)))

    def worker_line(self, model_name: str, number: int, stream: str, line: str) -> None:
        """Record a line that a worker printed on `stdout` (INFO) or `stderr` (WARN)."""
        severity, level = (logging.WARNING, "WARN") if stream == "stderr" else (logging.INFO, "INFO")
        printed = Line(time.time(), level, f"W-{model_name[:25]}-{number}-{stream}", LIFE_CYCLE, one_line(line))
        # Python's loggers pass everything on to their root, so there one of the two is enough.
        for name in (SERVER, MODEL) if self._layout is not None else (MODEL,):
            self._batcher.put((name, severity, _same_line, (printed,)))

    def flush(self) -> None:
        """Wait until everything so far is written, or 5 s if the console is stuck. Blocks: for start and end."""
        self._batcher.flush()
        for outlet in self._outlets.values():
            if isinstance(outlet.sink, Console):
                outlet.sink.flush()

    def close(self) -> None:
        """Give the root logger back, write what is left and close the files. May be called again."""
        if self._handler is not None:
            logging.getLogger().removeHandler(self._handler)
            for name, level in self._levels_before.items():
                logging.getLogger(name).setLevel(level)
            self._handler = None
        self._batcher.close()
        for outlet in self._outlets.values():
            outlet.sink.close()

    def _plan(self, config: Config) -> LogLayout | None:
        """Return what the configuration asks for; None when Python's own logging configuration has taken over."""
        file = config.log_config
        if file is None:
            return default_layout(config)
        if file.suffix in (".json", ".toml"):
            _apply_python_config(file)
            return None
        try:
            layout, self._problems = read_log4j(file, config)
        except UnreadableLogConfig as exc:
            self._problems = [f"--log-config {file} is not followed, the default is: {exc}"]
            return default_layout(config)
        return layout

    def _open_outlets(self, layout: LogLayout) -> None:
        for target in dict.fromkeys(target for stream in layout.streams.values() for target in stream.targets):
            sink: RollingFile | Console
            if isinstance(target, ConsoleTarget):
                sink = Console(sys.stderr if target.stderr else sys.stdout)
            else:
                sink = RollingFile(target, self._complain)
            self._outlets[target] = _Outlet(compile_pattern(target.pattern), sink)
        for name, stream in layout.streams.items():
            self._routes[name] = (stream.level, [self._outlets[target] for target in stream.targets])

    def _install(self, layout: LogLayout) -> None:
        self._handler = LineHandler(self._put_line, self.flush)
        for name, level in (("", layout.root_level), ("mms", layout.streams[SERVER].level)):
            one = logging.getLogger(name)
            self._levels_before[name] = one.level
            # 0 would mean "as the parent" to Python; log4j's "all" means everything.
            one.setLevel(max(level, 1))
        logging.getLogger().addHandler(self._handler)

    def _put_line(self, line: Line) -> None:
        # Its level was checked by its logger.
        self._batcher.put((SERVER, logging.CRITICAL, _same_line, (line,)))

    def _complain(self, problem: str) -> None:
        if self._handler is None:
            self._problems.append(problem)
        else:
            logger.warning("%s", problem)

    def _write(self, entries: list[Entry]) -> None:
        """Write one batch: one write a target. Runs in the thread."""
        if self._layout is None:
            _hand_to_python(entries)
            return
        for number, (name, level, make, arguments) in enumerate(entries):
            if number % _LINES_AT_ONCE == 0:
                # Gives the event loop its turn: Python itself would let this thread run on for 5 ms.
                time.sleep(0)
            least, outlets = self._routes[name]
            if level < least or not outlets:
                continue
            line = make(*arguments)
            for outlet in outlets:
                outlet.texts.append(outlet.layout(line))
        for outlet in self._outlets.values():
            if outlet.texts:
                outlet.sink.write("".join(outlet.texts))
                outlet.texts.clear()


def _access_line(
    created: float, peer: str, method: str, target: str, version: str, status: int, milliseconds: int
) -> Line:
    request = one_line(f'/{peer} "{method} {target} {version}" {status} {milliseconds}')
    return Line(created, "INFO", "main", ACCESS, request)


def _metric_line(
    created: float, name: str, unit: str, value: float | str, dimensions: Sequence[str], host: str
) -> Line:
    measured = f"{name}.{unit}:{value}|#{','.join(dimensions)}|#hostname:{host},timestamp:{int(created)}"
    return Line(created, "INFO", "main", MMS_METRICS, one_line(measured))


def _model_metric_line(created: float, record: MetricRecord, host: str) -> Line:
    name, unit, value, dimensions, request_id, timestamp = record
    measured = (
        f"{name}.{unit}:{value}|#{','.join(dimensions)}|#hostname:{host},requestID:{request_id},timestamp:{timestamp}"
    )
    return Line(created, "INFO", "main", MODEL_METRICS, one_line(measured))


def _same_line(line: Line) -> Line:
    return line


def _apply_python_config(file: Path) -> None:
    """Hand a logging configuration in JSON or TOML to the logging module."""
    try:
        text = file.read_text(encoding="utf-8")
        settings = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
        # Unless told otherwise Python would silence every logger that exists, which are all of ours.
        logging.config.dictConfig({"disable_existing_loggers": False} | settings)
    except (OSError, ValueError, TypeError, AttributeError, ImportError) as exc:
        raise ConfigurationError(f"--log-config {file} cannot be used: {exc}") from exc


def _hand_to_python(entries: Sequence[Entry]) -> None:
    for name, level, make, arguments in entries:
        one = logging.getLogger(name)
        if not one.isEnabledFor(level):
            continue
        line = make(*arguments)
        record = one.makeRecord(name, level, "", 0, line.message, (), None)
        record.created, record.threadName = line.created, line.thread
        record.msecs = float(int(line.created % 1 * 1000))
        one.handle(record)
