"""Reads a log4j2.xml given by `--log-config`: files, levels, patterns and rolling, as far as it goes. Front process."""

import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from mms.server.config import Config
from mms.server.logs.layout import MODEL, SERVER, STREAMS, ConsoleTarget, FileTarget, LogLayout, Stream, Target

_LOOKUP = re.compile(r"\$\{(?:(env|sys):)?([\w.]+)(?::-([^}]*))?\}")
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMG]?)B?\s*", re.IGNORECASE)
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}
_FILES = ("File", "RandomAccessFile", "RollingFile", "RollingRandomAccessFile")
_LEVELS = {
    "all": logging.NOTSET,
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
    "off": logging.CRITICAL + 1,
}
_DEFAULT_PATTERN = "%m%n"  # log4j's


class UnreadableLogConfig(Exception):
    """The file cannot be followed; the text says why."""


def read_log4j(file: Path, config: Config) -> tuple[LogLayout, list[str]]:
    """Return the plan that a log4j2.xml describes, and warnings about what in it is not followed.

    As in log4j a stream also has the targets of the root logger unless `additivity="false"`, though none of them twice.
    Raises UnreadableLogConfig.
    """
    root = _parse(file)
    lookups = {
        "LOG_LOCATION": str(config.log_location),
        "METRICS_LOCATION": str(config.metrics_location),
        **{p.get("name", ""): p.get("value") or p.text or "" for p in root.iterfind("Properties/Property")},
    }
    warnings: list[str] = []
    appenders: dict[str, tuple[Target, ...]] = {}
    for element in root.iterfind("Appenders/*"):
        appenders[element.get("name", "")] = _targets(element, appenders, lookups, warnings)
    loggers = {element.get("name", ""): element for element in root.iterfind("Loggers/*") if element.get("name")}
    top = next((e for e in root.iterfind("Loggers/*") if e.tag in ("Root", "AsyncRoot")), Element("Root"))
    streams = {name: _stream(loggers.get(name), top, appenders) for name in STREAMS}
    # What a worker prints is in the server's stream already; its copy must not reach the same targets.
    once = tuple(t for t in streams[MODEL].targets if t not in streams[SERVER].targets)
    streams[MODEL] = Stream(streams[MODEL].level, once)
    return LogLayout(MappingProxyType(streams), _level(top, "error")), warnings


def _parse(file: Path) -> Element:
    try:
        text = file.read_bytes()
        if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
            # Entities can blow up to any size, and a logging configuration needs none.
            raise UnreadableLogConfig("it has a DOCTYPE")
        return ElementTree.fromstring(text)
    except (OSError, ElementTree.ParseError) as exc:
        raise UnreadableLogConfig(str(exc)) from exc


def _stream(logger: Element | None, top: Element, appenders: Mapping[str, tuple[Target, ...]]) -> Stream:
    """Return level and targets of one logger; without an entry of its own it is the root's."""
    sources = [top]
    if logger is not None:
        sources = [logger] if logger.get("additivity", "true").lower() == "false" else [logger, top]
    refs = [ref.get("ref", "") for source in sources for ref in source.iterfind("AppenderRef")]
    targets = dict.fromkeys(target for ref in refs for target in appenders.get(ref, ()))
    own = top if logger is None or logger.get("level") is None else logger
    return Stream(_level(own, "error"), tuple(targets))


def _level(element: Element, default: str) -> int:
    return _LEVELS.get(element.get("level", default).lower(), logging.INFO)


def _targets(
    element: Element,
    appenders: Mapping[str, tuple[Target, ...]],
    lookups: Mapping[str, str],
    warnings: list[str],
) -> tuple[Target, ...]:
    """Return what one appender writes to; an Async one stands for those that it names."""
    if element.tag == "Async":
        return tuple(t for ref in element.iterfind("AppenderRef") for t in appenders.get(ref.get("ref", ""), ()))
    pattern = _pattern(element, lookups, warnings)
    if element.tag == "Console":
        return (ConsoleTarget(pattern=pattern, stderr=element.get("target") == "SYSTEM_ERR"),)
    name = _replace(element.get("fileName", ""), lookups)
    if element.tag not in _FILES or not name:
        warnings.append(f"Appender {element.get('name')} is left out: {element.tag} is not supported.")
        return ()
    strategy = element.find("DefaultRolloverStrategy")
    rolls = element.tag.startswith("Rolling")
    return (
        FileTarget(
            path=Path(name).absolute(),
            pattern=pattern,
            rolled_path=_replace(element.get("filePattern", f"{name}.%i"), lookups),
            max_bytes=_max_bytes(element) if rolls else 0,
            daily=rolls and any(True for _ in element.iter("TimeBasedTriggeringPolicy")),
            keep=int(strategy.get("max", "7")) if strategy is not None and strategy.get("max", "7").isdigit() else 7,
        ),
    )


def _pattern(element: Element, lookups: Mapping[str, str], warnings: list[str]) -> str:
    layout = element.find("PatternLayout")
    if layout is None:
        others = [child.tag for child in element if child.tag.endswith("Layout")]
        warnings.extend(f"{tag} of appender {element.get('name')} is not supported." for tag in others)
        return _DEFAULT_PATTERN
    text = layout.get("pattern") or layout.findtext("Pattern") or _DEFAULT_PATTERN
    return _replace(text.strip(), lookups)


def _max_bytes(element: Element) -> int:
    """Return the size at which a file is rolled; 0 means never."""
    sizes: Iterable[str] = (policy.get("size", "10 MB") for policy in element.iter("SizeBasedTriggeringPolicy"))
    for size in sizes:
        if match := _SIZE.fullmatch(size):
            return int(float(match[1]) * _UNITS[match[2].upper()])
    return 0


def _replace(text: str, lookups: Mapping[str, str]) -> str:
    """Replace `${name}`, `${env:NAME:-default}` and `${sys:NAME}`. The environment is only the two folders here."""
    return _LOOKUP.sub(lambda match: lookups.get(match[2], match[3] or ""), text)
