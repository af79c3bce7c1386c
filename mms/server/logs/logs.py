"""`Logs`: everything the front process writes down, in MMS's five files and on the console. Front process."""

import json
import logging
import logging.config
import socket
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

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
    STREAMS,
    ConsoleTarget,
    LogLayout,
    Target,
    default_layout,
)
from mms.server.logs.log4j import UnreadableLogConfig, read_log4j
from mms.server.logs.outlet import LoggerOutlet, Outlet, TextOutlet
from mms.server.logs.pattern import Line
from mms.server.logs.records import LIFE_CYCLE, LineHandler
from mms.server.logs.request_lines import Entry, RequestLines, Stamps
from mms.server.logs.sinks import Console, RollingFile

logger = logging.getLogger(__name__)

Writer = Callable[[float, str], None]
"""Takes a line's time (seconds since the epoch) and its message."""

_INTERVAL_S = 0.15


class Logs:
    """The log files of one server, and the handler of the root logger while it is open.

    All methods return at once: lines are kept in memory, and a thread writes them every 0.15 s.
    With a Python logging configuration (`--log-config` in JSON or TOML) lines go to loggers of MMS's names instead.
    Raises ConfigurationError when that configuration cannot be used.
    """

    def __init__(self, config: Config) -> None:
        self._host = socket.gethostname()
        self._routes: dict[str, tuple[int, list[Outlet]]] = {}
        """Stream -> the least level that it takes, and where its lines go."""
        self._handler: LineHandler | None = None
        self._problems: list[str] = []
        self._layout = self._plan(config)
        self._batcher: Batcher[Entry] = Batcher(self._write, name="log-writer", interval_s=_INTERVAL_S)
        self._levels_before: dict[str, int] = {}
        if self._layout is None:
            self._routes = {name: (logging.NOTSET, [LoggerOutlet(name)]) for name in STREAMS}
        else:
            self._routes = self._open_outlets(self._layout)
        self._requests = RequestLines(
            self._host, {stream: self._stamps(stream) for stream in (ACCESS, MMS_METRICS, MODEL_METRICS)}
        )
        self._write_metric = self._writer(MMS_METRICS)
        self._write_model_metric = self._writer(MODEL_METRICS)
        if self._layout is not None:
            self._install(self._layout)
        for problem in self._problems:
            logger.warning("%s", problem)

    def answered(self, peer: str, method: str, target: str, version: str, status: int, milliseconds: int) -> None:
        """Record one answer, and count it by the class of its status.

        `/127.0.0.1:56506 "POST /predictions/x HTTP/1.1" 200 4`; `peer` is without the slash.
        """
        if self._requests.answered(peer, method, target, version, status, milliseconds):
            self._hand_in()
        else:
            self._batcher.wake()

    def metric(self, name: str, unit: str, value: float | str, *, dimensions: Sequence[str] = ("Level:Host",)) -> None:
        """Record one value that concerns the server or its host."""
        now = time.time()
        measured = f"{name}.{unit}:{value}|#{','.join(dimensions)}|#hostname:{self._host},timestamp:{int(now)}"
        self._write_metric(now, one_line(measured))

    def worker_loaded(self, model_name: str, number: int, milliseconds: int) -> None:
        """Record how long a worker took to start and load its model."""
        self.metric(f"W-{number}-{model_name[:25]}", "ms", milliseconds)

    def prediction_time(self, model_name: str, request_ids: Sequence[str], milliseconds: float) -> None:
        """Record how long a handler worked on one batch."""
        self._requests.predicted(model_name, request_ids, milliseconds)
        self._batcher.wake()

    def model_metrics(self, records: Sequence[MetricRecord]) -> None:
        """Record what handlers measured during one batch."""
        for name, unit, value, dimensions, ids, timestamp in records:
            where = f"hostname:{self._host},requestID:{ids},timestamp:{timestamp}"
            self._write_model_metric(time.time(), one_line(f"{name}.{unit}:{value}|#{','.join(dimensions)}|#{where}"))

    def worker_line(self, model_name: str, number: int, stream: str, line: str) -> None:
        """Record a line that a worker printed on `stdout` (INFO) or `stderr` (WARN)."""
        severity, level = (logging.WARNING, "WARN") if stream == "stderr" else (logging.INFO, "INFO")
        printed = Line(time.time(), level, f"W-{model_name[:25]}-{number}-{stream}", LIFE_CYCLE, one_line(line))
        # Python's loggers pass everything on to their root, so there one of the two is enough.
        for name in (SERVER, MODEL) if self._layout is not None else (MODEL,):
            self._put(name, severity, printed)

    def flush(self) -> None:
        """Wait until everything so far is written, or 5 s if the console is stuck. Blocks: for start and end."""
        self._batcher.flush()
        for outlet in self._outlets():
            outlet.flush()

    def close(self) -> None:
        """Give the root logger back, write what is left and close the files. May be called again."""
        if self._handler is not None:
            logging.getLogger().removeHandler(self._handler)
            for name, level in self._levels_before.items():
                logging.getLogger(name).setLevel(level)
            self._handler = None
        self._batcher.close()
        for outlet in self._outlets():
            outlet.close()

    def _outlets(self) -> list[Outlet]:
        return list(dict.fromkeys(outlet for _, outlets in self._routes.values() for outlet in outlets))

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

    def _open_outlets(self, layout: LogLayout) -> dict[str, tuple[int, list[Outlet]]]:
        opened: dict[Target, TextOutlet] = {}
        for target in dict.fromkeys(target for stream in layout.streams.values() for target in stream.targets):
            sink: RollingFile | Console
            if isinstance(target, ConsoleTarget):
                sink = Console(sys.stderr if target.stderr else sys.stdout)
            else:
                sink = RollingFile(target, self._complain)
            opened[target] = TextOutlet(target.pattern, sink)
        return {
            name: (stream.level, [opened[target] for target in stream.targets])
            for name, stream in layout.streams.items()
        }

    def _stamps(self, stream: str) -> Stamps:
        """Return where the INFO lines of a stream go."""
        least, outlets = self._routes[stream]
        return [(outlet, outlet.stamp(stream)) for outlet in outlets if least <= logging.INFO]

    def _writer(self, stream: str) -> Writer:
        """Make what writes INFO lines to a stream."""
        stamps = self._stamps(stream)

        def write(created: float, message: str) -> None:
            self._hand_in(*[(outlet, stamp([(created, message)])) for outlet, stamp in stamps])

        return write

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
        self._put(SERVER, logging.CRITICAL, line)

    def _put(self, stream: str, severity: int, line: Line) -> None:
        least, outlets = self._routes[stream]
        if severity >= least:
            self._hand_in(*[(outlet, [outlet.form(line)]) for outlet in outlets])

    def _hand_in(self, *entries: Entry) -> None:
        """Have lines written, behind those of the requests before them."""
        for entry in (*self._requests.form(), *entries):
            self._batcher.put(entry)

    def _complain(self, problem: str) -> None:
        if self._handler is None:
            self._problems.append(problem)
        else:
            logger.warning("%s", problem)

    def _write(self, entries: list[Entry]) -> None:
        """Write one batch: one write an outlet. Runs in the thread."""
        items: dict[Outlet, list[object]] = {}
        for outlet, more in (*entries, *self._requests.form()):
            items.setdefault(outlet, []).extend(more)
        for outlet, lines in items.items():
            outlet.write(lines)


def _apply_python_config(file: Path) -> None:
    """Hand a logging configuration in JSON or TOML to the logging module."""
    try:
        text = file.read_text(encoding="utf-8")
        settings = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
        # Unless told otherwise Python would silence every logger that exists, which are all of ours.
        logging.config.dictConfig({"disable_existing_loggers": False} | settings)
    except (OSError, ValueError, TypeError, AttributeError, ImportError) as exc:
        raise ConfigurationError(f"--log-config {file} cannot be used: {exc}") from exc
