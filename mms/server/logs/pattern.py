"""Log4j's patterns, such as `%d{ISO8601} [%-5p] %t %c - %m%n`, as Python functions. Front process."""

import re
import time
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import NamedTuple


class Line(NamedTuple):
    """One event of a log, before it has a form."""

    created: float
    """Seconds since the epoch."""
    level: str
    """In log4j's words: DEBUG, INFO, WARN, ERROR, FATAL."""
    thread: str
    logger: str
    message: str


Layout = Callable[[Line], str]
Timed = Iterable[tuple[float, str]]
"""Times (seconds since the epoch) and messages."""
Stamp = Callable[[Timed], list[str]]
"""Gives each the form of a line."""

_CONVERSION = re.compile(
    r"%(?P<left>-?)(?P<width>\d*)(?:\.(?P<limit>\d+))?(?P<word>[a-zA-Z]+|%)(?:\{(?P<option>[^}]*)\})?"
)
_DATE_NAMES = {
    "": "yyyy-MM-dd HH:mm:ss,SSS",
    "DEFAULT": "yyyy-MM-dd HH:mm:ss,SSS",
    "ISO8601": "yyyy-MM-dd'T'HH:mm:ss,SSS",
    "ABSOLUTE": "HH:mm:ss,SSS",
    "DATE": "dd MMM yyyy HH:mm:ss,SSS",
}
_DATE_PART = re.compile(r"'([^']*)'|yyyy|yy|MMM|MM|dd|HH|mm|ss|SSS|.", re.DOTALL)
_WHOLE_MESSAGES = ("%m", "%msg", "%message")
_CONSTANTS = {"n": "\n", "%": "%"}
_MILLISECONDS = "\x1e"  # strftime has none
_STRFTIME = {
    "yyyy": "%Y",
    "yy": "%y",
    "MMM": "%b",
    "MM": "%m",
    "dd": "%d",
    "HH": "%H",
    "mm": "%M",
    "ss": "%S",
    "SSS": _MILLISECONDS,
    "%": "%%",
}


def compile_pattern(pattern: str) -> Layout:
    """Make the function that gives a Line its form. What is not known here appears as it was written.

    Known: date, level, thread, logger (also `c{1}`), message, line end, with width and limit.
    Source: log4j 2 manual, Pattern Layout.
    """
    form = ""
    parts: list[Layout] = []
    end = 0
    for match in _CONVERSION.finditer(pattern):
        form += pattern[end : match.start()].replace("%", "%%")
        part = _conversion(match)
        form += part.replace("%", "%%") if isinstance(part, str) else "%s"
        parts += [] if isinstance(part, str) else [part]
        end = match.end()
    form += pattern[end:].replace("%", "%%")
    return lambda line: form % tuple([part(line) for part in parts])


def compile_stamp(pattern: str, line: Line) -> Stamp:
    """Make the function that gives lines their form which differ from `line` in time and message only.

    What stands around the message is the same for all lines of a millisecond, and made once for them.
    """
    messages = [match for match in _CONVERSION.finditer(pattern) if match[0] in _WHOLE_MESSAGES]
    if len(messages) != 1:
        layout = compile_pattern(pattern)
        return lambda lines: [layout(line._replace(created=created, message=message)) for created, message in lines]
    before = compile_pattern(pattern[: messages[0].start()])
    behind = compile_pattern(pattern[messages[0].end() :])

    def write(lines: Timed) -> list[str]:
        known, start, end = -1, "", ""
        written = []
        for created, message in lines:
            if known != (millisecond := int(created * 1000)):
                now = line._replace(created=created)
                known, start, end = millisecond, before(now), behind(now)
            written.append(f"{start}{message}{end}")
        return written

    return write


def date_format(text: str) -> Callable[[float], str]:
    """Make the function that writes a time as Java's SimpleDateFormat does, in local time."""
    form = "".join(
        part[1].replace("%", "%%") if part[1] is not None else _STRFTIME.get(part[0], part[0])
        for part in _DATE_PART.finditer(_DATE_NAMES.get(text, text))
    )
    # Thousands of lines share a second, and strftime is slow.
    cached = (-1, "")

    def write(created: float) -> str:
        nonlocal cached
        second, milliseconds = divmod(int(created * 1000), 1000)
        known, written = cached
        if known != second:
            written = time.strftime(form, time.localtime(second))
            # In one step: any thread may write a line.
            cached = (second, written)
        return written.replace(_MILLISECONDS, f"{milliseconds:03d}")

    return write


def _conversion(match: re.Match[str]) -> Layout | str:
    """Return the function of a conversion, or the text that it always stands for."""
    value = _value(match["word"], match["option"])
    if value is None:
        return _CONSTANTS.get(match["word"], match[0])
    width, limit = int(match["width"] or 0), int(match["limit"] or 0)
    if not width and not limit:
        return value

    def padded(line: Line) -> str:
        text = value(line)
        text = text[-limit:] if limit else text
        return text.ljust(width) if match["left"] else text.rjust(width)

    return padded


def _value(word: str, option: str | None) -> Layout | None:
    if word in ("d", "date"):
        write = date_format(option or "")
        return lambda line: write(line.created)
    if word in ("p", "level"):
        return attrgetter("level")
    if word in ("t", "thread", "threadName"):
        return attrgetter("thread")
    if word in ("c", "logger"):
        keep = int(option) if option and option.isdigit() else 0
        return lambda line: ".".join(line.logger.split(".")[-keep:])
    if word in ("m", "msg", "message"):
        return attrgetter("message")
    return None
