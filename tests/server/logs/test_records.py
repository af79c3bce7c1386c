"""From Python's log records to MMS's lines."""

import logging
import sys

import pytest

from mms.server.logs.pattern import Line
from mms.server.logs.records import LineHandler, mms_name


def lines_of(record: logging.LogRecord) -> list[Line]:
    lines: list[Line] = []
    LineHandler(lines.append, lambda: None).handle(record)
    return lines


def record(
    message: str, *args: object, level: int = logging.INFO, name: str = "mms.server.registry"
) -> logging.LogRecord:
    return logging.LogRecord(name, level, "file.py", 1, message, args, None)


@pytest.mark.parametrize(
    ("python", "mms"),
    [
        ("mms.server.registry", "com.amazonaws.ml.mms.wlm.ModelManager"),
        ("mms.server.model_server", "com.amazonaws.ml.mms.ModelServer"),
        ("mms.server.slot", "com.amazonaws.ml.mms.wlm.WorkerThread"),
        ("mms.server.http.prometheus", "com.amazonaws.ml.mms.http.prometheus"),
        ("asyncio", "asyncio"),
    ],
)
def test_logger_names(python: str, mms: str) -> None:
    assert mms_name(python) == mms


@pytest.mark.parametrize(
    ("level", "word"),
    [
        (logging.CRITICAL, "FATAL"),
        (logging.ERROR, "ERROR"),
        (logging.WARNING, "WARN"),
        (logging.INFO, "INFO"),
        (5, "DEBUG"),
    ],
)
def test_levels(level: int, word: str) -> None:
    assert lines_of(record("x", level=level))[0].level == word


def test_thread_is_main_or_as_given() -> None:
    one = record("x")
    assert lines_of(one)[0].thread == "main"
    one.thread_name = "W-9000-echo"
    assert lines_of(one)[0].thread == "W-9000-echo"


def test_what_is_put_into_a_message_cannot_forge_a_line() -> None:
    (line,) = lines_of(record("Model %s: %d%% of %s\nsecond line", "a\n2026 [INFO ] b\r", 5, ValueError("c\nd")))
    assert line.message == "Model a\n\t2026 [INFO ] b\\x0d: 5% of c\n\td\nsecond line"


def test_mapping_as_argument() -> None:
    assert lines_of(record("%(a)s %(b).1f", {"a": "x\n", "b": 1}))[0].message == "x\n\t 1.0"


def test_traceback_is_appended_and_indented() -> None:
    one = record("failed")
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        one.exc_info = sys.exc_info()
    lines = lines_of(one)[0].message.split("\n")
    assert lines[:2] == ["failed", "Traceback (most recent call last):"]
    assert lines[-2:] == ["\tValueError: first", "\tsecond"]
