"""The five files and the console, written by a real `Logs`."""

import json
import logging
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mms.protocol.messages import MetricRecord
from mms.server.config import Config
from mms.server.errors import ConfigurationError
from mms.server.logs import Logs

HOST = socket.gethostname()
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d,\d{3}"


@pytest.fixture
def open_logs(tmp_path: Path) -> Iterator[Callable[..., Logs]]:
    opened: list[Logs] = []

    def make(**settings: object) -> Logs:
        config = Config(log_location=tmp_path / "l", metrics_location=tmp_path / "m", **settings)  # type: ignore[arg-type]
        opened.append(Logs(config))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def lines(file: Path) -> list[str]:
    """Return the lines of a file with their times taken off, which all must have."""
    found = []
    for line in file.read_text().splitlines():
        match = re.fullmatch(rf"{STAMP} (.*)", line)
        assert match, line
        found.append(match[1])
    return found


def test_all_five_files_exist_from_the_start(tmp_path: Path, open_logs: Callable[..., Logs]) -> None:
    open_logs().close()
    assert sorted(path.name for path in (tmp_path / "l").iterdir()) == [
        "access_log.log",
        "mms_log.log",
        "model_log.log",
    ]
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["mms_metrics.log", "model_metrics.log"]


def test_access_line(tmp_path: Path, open_logs: Callable[..., Logs]) -> None:
    logs = open_logs()
    logs.answered("127.0.0.1:56506", "POST", "/predictions/a\r\nb", "HTTP/1.1", 404, 3)
    logs.close()
    assert lines(tmp_path / "l/access_log.log") == [
        '- /127.0.0.1:56506 "POST /predictions/a\\x0d\\x0ab HTTP/1.1" 404 3'
    ]


def test_metric_lines_have_a_timestamp(tmp_path: Path, open_logs: Callable[..., Logs]) -> None:
    logs = open_logs()
    for status in (200, 302, 404, 500):
        logs.answered("p", "GET", "/", "HTTP/1.1", status, 1)
    logs.metric("CPUUtilization", "Percent", 12.5)
    logs.worker_loaded("echo", 9000, 66)
    logs.close()
    found = [re.sub(r"timestamp:\d{10}$", "timestamp:<T>", line) for line in lines(tmp_path / "m/mms_metrics.log")]
    tail = f"|#Level:Host|#hostname:{HOST},timestamp:<T>"
    assert found == [
        f"- Requests2XX.Count:1{tail}",
        f"- Requests3XX.Count:1{tail}",
        f"- Requests4XX.Count:1{tail}",
        f"- Requests5XX.Count:1{tail}",
        f"- CPUUtilization.Percent:12.5{tail}",
        f"- W-9000-echo.ms:66{tail}",
    ]


def test_model_metric_line(tmp_path: Path, open_logs: Callable[..., Logs]) -> None:
    logs = open_logs()
    dimensions = ("ModelName:echo", "Level:Model")
    logs.model_metrics([MetricRecord("PredictionTime", "Milliseconds", "0.02", dimensions, "id1,id2", 1795364378)])
    logs.close()
    assert lines(tmp_path / "m/model_metrics.log") == [
        f"- PredictionTime.Milliseconds:0.02|#ModelName:echo,Level:Model|#hostname:{HOST},"
        "requestID:id1,id2,timestamp:1795364378"
    ]


def test_prediction_time_line(tmp_path: Path, open_logs: Callable[..., Logs]) -> None:
    logs = open_logs()
    logs.prediction_time("echo", ["id1", "id2"], 0.02)
    logs.close()
    [line] = lines(tmp_path / "m/model_metrics.log")
    assert re.sub(r"timestamp:\d{10}$", "timestamp:<T>", line) == (
        f"- PredictionTime.Milliseconds:0.02|#ModelName:echo,Level:Model|#hostname:{HOST},"
        "requestID:id1,id2,timestamp:<T>"
    )


def test_no_line_of_many_requests_is_lost_or_out_of_order(tmp_path: Path, open_logs: Callable[..., Logs]) -> None:
    logs = open_logs()
    for number in range(1000):
        logs.prediction_time("echo", [f"id{number}"], 0.02)
        logs.answered("p", "POST", f"/{number}", "HTTP/1.1", 200, 1)
        if number % 300 == 0:
            logs.metric("N", "Count", number)
    logs.close()
    access = lines(tmp_path / "l/access_log.log")
    assert access == [f'- /p "POST /{number} HTTP/1.1" 200 1' for number in range(1000)]
    ids = [line.partition("requestID:")[2].partition(",")[0] for line in lines(tmp_path / "m/model_metrics.log")]
    assert ids == [f"id{number}" for number in range(1000)]
    metrics = [line.split(".")[0] for line in lines(tmp_path / "m/mms_metrics.log")]
    # Each behind the answers before it, and the ones of its own kind.
    assert [at for at, name in enumerate(metrics) if name == "- N"] == [1, 302, 603, 904]


def test_the_lines_of_one_console_keep_their_order(tmp_path: Path, open_logs: Callable[..., Logs]) -> None:
    config = tmp_path / "log4j2.xml"
    target = tmp_path / "one.log"
    config.write_text(
        f"""<Configuration><Appenders><File name="one" fileName="{target}"><PatternLayout pattern="%m%n"/></File>
        </Appenders><Loggers><Root level="info"><AppenderRef ref="one"/></Root></Loggers></Configuration>"""
    )
    logs = open_logs(log_config=config)
    logs.answered("p", "GET", "/first", "HTTP/1.1", 200, 1)
    logging.getLogger("mms.server.model").warning("second")
    logs.answered("p", "GET", "/third", "HTTP/1.1", 200, 1)
    logs.close()
    assert re.findall(r"first|second|third", target.read_text()) == ["first", "second", "third"]


def test_worker_lines_are_in_both_logs(tmp_path: Path, open_logs: Callable[..., Logs]) -> None:
    logs = open_logs()
    logs.worker_line("behave", 3, "stdout", "hello there")
    logs.worker_line("a" * 30, 4, "stderr", "oh\x1b[0m")
    logs.close()
    expected = [
        "[INFO ] W-behave-3-stdout com.amazonaws.ml.mms.wlm.WorkerLifeCycle - hello there",
        f"[WARN ] W-{'a' * 25}-4-stderr com.amazonaws.ml.mms.wlm.WorkerLifeCycle - oh\\x1b[0m",
    ]
    assert lines(tmp_path / "l/mms_log.log") == expected
    assert lines(tmp_path / "l/model_log.log") == expected


def test_log_records_go_to_file_and_console_once(
    tmp_path: Path, open_logs: Callable[..., Logs], capfd: pytest.CaptureFixture[str]
) -> None:
    logs = open_logs()
    logging.getLogger("mms.server.registry").info("Model %s loaded.", "echo")
    logging.getLogger("mms.server.slot").debug("not shown")
    logging.getLogger("elsewhere").warning("seen too")
    logs.close()
    assert lines(tmp_path / "l/mms_log.log") == [
        "[INFO ] main com.amazonaws.ml.mms.wlm.ModelManager - Model echo loaded.",
        "[WARN ] main elsewhere - seen too",
    ]
    assert capfd.readouterr().out == (tmp_path / "l/mms_log.log").read_text()


def test_debug_shows_more(tmp_path: Path, open_logs: Callable[..., Logs]) -> None:
    logs = open_logs(debug=True)
    logging.getLogger("mms.server.slot").debug("shown")
    logs.close()
    assert lines(tmp_path / "l/mms_log.log") == ["[DEBUG] main com.amazonaws.ml.mms.wlm.WorkerThread - shown"]


def test_flush_of_the_root_handlers_writes_everything(tmp_path: Path, open_logs: Callable[..., Logs]) -> None:
    logs = open_logs()
    logs.answered("peer", "GET", "/ping", "HTTP/1.1", 200, 0)
    for handler in logging.getLogger().handlers:
        handler.flush()
    assert lines(tmp_path / "l/access_log.log") == ['- /peer "GET /ping HTTP/1.1" 200 0']
    logs.close()


def test_close_gives_the_root_logger_back(open_logs: Callable[..., Logs]) -> None:
    root, ours = logging.getLogger(), logging.getLogger("mms")
    before = (list(root.handlers), root.level, ours.level)
    open_logs().close()
    assert (list(root.handlers), root.level, ours.level) == before


def test_folder_that_cannot_be_written_leaves_the_console(
    tmp_path: Path, open_logs: Callable[..., Logs], capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m").write_text("in the way")
    logs = open_logs()
    logs.metric("Lost", "Count", 1)
    logs.close()
    shown = capfd.readouterr().out
    assert shown.count("cannot be written") == 2
    assert str(tmp_path / "m/mms_metrics.log") in shown


def test_log4j_file_is_followed(tmp_path: Path, open_logs: Callable[..., Logs]) -> None:
    (tmp_path / "log4j2.xml").write_text(
        """<Configuration><Appenders><File name="f" fileName="${env:LOG_LOCATION}/mine.log">
        <PatternLayout pattern="%p %c{1} %m%n"/></File></Appenders><Loggers>
        <Logger name="MMS_METRICS" level="warn"/><Root level="info"><AppenderRef ref="f"/></Root>
        </Loggers></Configuration>"""
    )
    logs = open_logs(log_config=tmp_path / "log4j2.xml")
    logging.getLogger("mms.server.registry").info("Model loaded.")
    logs.metric("Hidden", "Count", 1)
    logs.worker_line("m", 1, "stdout", "once")
    logs.answered("p", "GET", "/", "HTTP/1.1", 200, 1)
    logs.close()
    assert (tmp_path / "l/mine.log").read_text() == (
        'INFO ModelManager Model loaded.\nINFO WorkerLifeCycle once\nINFO ACCESS_LOG /p "GET / HTTP/1.1" 200 1\n'
    )
    assert [path.name for path in (tmp_path / "l").iterdir()] == ["mine.log"]


def test_file_that_is_no_log4j2_means_the_default_and_a_warning(tmp_path: Path, open_logs: Callable[..., Logs]) -> None:
    (tmp_path / "log4j.properties").write_text("log4j.rootLogger = INFO")
    open_logs(log_config=tmp_path / "log4j.properties").close()
    (line,) = lines(tmp_path / "l/mms_log.log")
    assert "log4j.properties is not followed" in line


@pytest.fixture
def _restored_logging() -> Iterator[None]:
    names = ("", "ACCESS_LOG", "MODEL_LOG")
    before = {name: (logging.getLogger(name).level, list(logging.getLogger(name).handlers)) for name in names}
    yield
    for name, (level, handlers) in before.items():
        one = logging.getLogger(name)
        for handler in [handler for handler in one.handlers if handler not in handlers]:
            handler.close()
        one.handlers[:] = handlers
        one.setLevel(level)


@pytest.mark.usefixtures("_restored_logging")
def test_python_configuration_in_json_takes_over(tmp_path: Path, open_logs: Callable[..., Logs]) -> None:
    file = tmp_path / "all.log"
    settings = {
        "version": 1,
        "formatters": {"f": {"format": "%(levelname)s %(threadName)s %(name)s %(message)s"}},
        "handlers": {"h": {"class": "logging.FileHandler", "filename": str(file), "formatter": "f"}},
        "root": {"level": "INFO", "handlers": ["h"]},
    }
    (tmp_path / "log.json").write_text(json.dumps(settings))
    logs = open_logs(log_config=tmp_path / "log.json")
    logging.getLogger("mms.server.registry").info("Model loaded.")
    logs.answered("p", "GET", "/", "HTTP/1.1", 200, 1)
    logs.worker_line("m", 1, "stderr", "100%")
    logs.close()
    assert [re.sub(r"timestamp:\d{10}$", "timestamp:<T>", line) for line in file.read_text().splitlines()] == [
        "INFO MainThread mms.server.registry Model loaded.",
        'INFO main ACCESS_LOG /p "GET / HTTP/1.1" 200 1',
        f"INFO main MMS_METRICS Requests2XX.Count:1|#Level:Host|#hostname:{HOST},timestamp:<T>",
        "WARNING W-m-1-stderr MODEL_LOG 100%",
    ]
    assert not (tmp_path / "l").exists()


@pytest.mark.usefixtures("_restored_logging")
@pytest.mark.parametrize(
    ("name", "text"), [("a.json", "{"), ("a.json", "[]"), ("a.toml", "version = 7"), ("b.toml", "=")]
)
def test_python_configuration_that_is_wrong_is_an_error(
    tmp_path: Path, open_logs: Callable[..., Logs], name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigurationError, match=f"^--log-config .*{name} cannot be used: "):
        open_logs(log_config=tmp_path / name)
