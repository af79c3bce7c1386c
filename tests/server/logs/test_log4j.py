"""Reading log4j2.xml files as people have them."""

import logging
from pathlib import Path

import pytest

from mms.server.config import Config
from mms.server.logs.layout import ACCESS, MMS_METRICS, MODEL, MODEL_METRICS, SERVER, ConsoleTarget, FileTarget
from mms.server.logs.log4j import UnreadableLogConfig, read_log4j

# The shape of the file that SageMaker's toolkits bring along: the root logger has the console, and lines go up to it.
TOOLKIT = """<?xml version="1.0" encoding="UTF-8"?>
<Configuration>
  <Appenders>
    <Console name="STDOUT" target="SYSTEM_OUT"><PatternLayout pattern="%d{ISO8601} [%-5p] %t %c - %m%n"/></Console>
    <RollingFile name="access_log" fileName="${env:LOG_LOCATION:-logs}/access_log.log"
                 filePattern="${env:LOG_LOCATION:-logs}/access_log.%d{dd-MMM}.log.gz">
      <PatternLayout pattern="%d{ISO8601} - %m%n"/>
      <Policies><SizeBasedTriggeringPolicy size="10 MB"/><TimeBasedTriggeringPolicy/></Policies>
      <DefaultRolloverStrategy max="3"/>
    </RollingFile>
    <File name="mms_log" fileName="${env:LOG_LOCATION:-logs}/mms_log.log">
      <PatternLayout><Pattern>%m%n</Pattern></PatternLayout>
    </File>
    <File name="model_log" fileName="${env:OTHER:-/var/log}/model_log.log"><PatternLayout pattern="%m%n"/></File>
  </Appenders>
  <Loggers>
    <Logger name="ACCESS_LOG" level="info"><AppenderRef ref="access_log"/></Logger>
    <Logger name="MODEL_LOG" level="warn"><AppenderRef ref="model_log"/></Logger>
    <Logger name="MODEL_METRICS" level="warn"/>
    <Logger name="MMS_METRICS" level="off" additivity="false"/>
    <Logger name="com.amazonaws.ml.mms" level="debug"><AppenderRef ref="mms_log"/></Logger>
    <Root level="error"><AppenderRef ref="STDOUT"/><AppenderRef ref="mms_log"/></Root>
  </Loggers>
</Configuration>"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(log_location=tmp_path / "l", metrics_location=tmp_path / "m")


def write(folder: Path, text: str) -> Path:
    (folder / "log4j2.xml").write_text(text)
    return folder / "log4j2.xml"


def test_file_of_the_toolkits(tmp_path: Path, config: Config) -> None:
    layout, warnings = read_log4j(write(tmp_path, TOOLKIT), config)
    stdout = ConsoleTarget(pattern="%d{ISO8601} [%-5p] %t %c - %m%n")
    mms_log = FileTarget(
        path=tmp_path / "l/mms_log.log", pattern="%m%n", rolled_path=f"{tmp_path}/l/mms_log.log.%i", max_bytes=0,
        daily=False, keep=7,
    )  # fmt: skip
    access = FileTarget(
        path=tmp_path / "l/access_log.log",
        pattern="%d{ISO8601} - %m%n",
        rolled_path=f"{tmp_path}/l/access_log.%d{{dd-MMM}}.log.gz",
        max_bytes=10 * 1024 * 1024,
        daily=True,
        keep=3,
    )
    streams = layout.streams
    assert warnings == []
    assert layout.root_level == logging.ERROR
    assert streams[ACCESS].targets == (access, stdout, mms_log)
    assert streams[SERVER].targets == (mms_log, stdout)
    assert (streams[SERVER].level, streams[MODEL_METRICS].level) == (logging.DEBUG, logging.WARNING)
    assert [target.path for target in streams[MODEL].targets if isinstance(target, FileTarget)] == [
        Path("/var/log/model_log.log")
    ]
    assert len(streams[MODEL].targets) == 1  # the rest is in the server's stream
    assert streams[MMS_METRICS].targets == ()


def test_async_appenders_and_properties(tmp_path: Path, config: Config) -> None:
    text = """<Configuration><Properties><Property name="p">%c %m%n</Property></Properties><Appenders>
        <Console name="err" target="SYSTEM_ERR"><PatternLayout pattern="${p}"/></Console>
        <Async name="later"><AppenderRef ref="err"/></Async></Appenders>
        <Loggers><AsyncRoot level="info"><AppenderRef ref="later"/></AsyncRoot></Loggers></Configuration>"""
    layout, _ = read_log4j(write(tmp_path, text), config)
    assert layout.streams[SERVER].targets == (ConsoleTarget(pattern="%c %m%n", stderr=True),)
    assert layout.streams[SERVER].level == logging.INFO


def test_what_is_not_supported_is_a_warning(tmp_path: Path, config: Config) -> None:
    text = """<Configuration><Appenders><Syslog name="s"/><Console name="c"><QLogLayout/></Console></Appenders>
        <Loggers><Root level="info"><AppenderRef ref="s"/><AppenderRef ref="c"/></Root></Loggers></Configuration>"""
    layout, warnings = read_log4j(write(tmp_path, text), config)
    assert warnings == [
        "Appender s is left out: Syslog is not supported.",
        "QLogLayout of appender c is not supported.",
    ]
    assert layout.streams[SERVER].targets == (ConsoleTarget(pattern="%m%n"),)


@pytest.mark.parametrize(
    "text",
    [
        "log4j.rootLogger = INFO, console",
        "<Configuration>",
        '<!DOCTYPE x [<!ENTITY a "b">]><Configuration>&a;</Configuration>',
    ],
)
def test_a_file_that_is_no_log4j2_xml(tmp_path: Path, config: Config, text: str) -> None:
    with pytest.raises(UnreadableLogConfig):
        read_log4j(write(tmp_path, text), config)
