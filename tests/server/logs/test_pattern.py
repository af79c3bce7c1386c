"""Log4j's patterns."""

import time

import pytest

from mms.server.logs.pattern import Line, compile_pattern, compile_stamp, date_format

CREATED = time.mktime((2026, 11, 2, 16, 9, 5, 0, 0, -1)) + 0.625  # exact in binary
LINE = Line(CREATED, "WARN", "W-9000-echo", "com.amazonaws.ml.mms.wlm.WorkerThread", "hello 100%")


PATTERNS = pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("%d{ISO8601} - %m%n", "2026-11-02T16:09:05,625 - hello 100%\n"),
        ("%d [%-5p] %t", "2026-11-02 16:09:05,625 [WARN ] W-9000-echo"),
        ("[%5level] %c{1}: %msg", "[ WARN] WorkerThread: hello 100%"),
        ("%c{2}|%logger", "wlm.WorkerThread|com.amazonaws.ml.mms.wlm.WorkerThread"),
        ("%.4t|%%|%unknown{x}", "echo|%|%unknown{x}"),
        ("%d{yyyy-MM-dd'at'HH:mm} %p", "2026-11-02at16:09 WARN"),
        ("%m %m", "hello 100% hello 100%"),
        ("%12m|%.4m", "  hello 100%|100%"),
        ("%c{1} 5% off %m at %d{ss,SSS}", "WorkerThread 5% off hello 100% at 05,625"),
    ],
)


@PATTERNS
def test_pattern(pattern: str, expected: str) -> None:
    assert compile_pattern(pattern)(LINE) == expected


@PATTERNS
def test_stamp_gives_the_same_form(pattern: str, expected: str) -> None:
    stamp = compile_stamp(pattern, LINE._replace(created=0.0, message=""))
    assert stamp([(CREATED, LINE.message)] * 2) == [expected, expected]


def test_stamp_changes_with_the_millisecond() -> None:
    stamp = compile_stamp("%d{ss,SSS} %m", LINE)
    assert stamp([(CREATED, "a"), (CREATED + 0.0005, "b"), (CREATED + 0.001, "c"), (CREATED, "d")]) == [
        "05,625 a",
        "05,625 b",
        "05,626 c",
        "05,625 d",
    ]


def test_date_changes_with_the_second_and_the_millisecond() -> None:
    write = date_format("HH:mm:ss,SSS")
    assert [write(CREATED), write(CREATED + 0.125), write(CREATED + 1)] == [
        "16:09:05,625",
        "16:09:05,750",
        "16:09:06,625",
    ]


def test_date_of_rolled_files() -> None:
    assert date_format("dd-MMM")(CREATED) == "02-Nov"
