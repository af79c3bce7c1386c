"""The block at the start."""

import re
import sys
from pathlib import Path

from mms.server.config import Config, StartupModel
from mms.server.logs import startup_summary


def test_defaults() -> None:
    lines = startup_summary(Config())
    assert [line.split(":")[0] for line in lines] == [
        *("MMS Home", "Current directory", "Temp directory", "Number of GPUs", "Number of CPUs", "Max heap size"),
        *("Python executable", "Config file", "Inference address", "Management address", "Model Store"),
        *("Initial Models", "Log dir", "Metrics dir", "Netty threads", "Netty client threads"),
        *("Default workers per model", "Blacklist Regex", "Maximum Response Size", "Maximum Request Size"),
        *("Preload model", "Prefer direct buffer"),
    ]
    assert f"Current directory: {Path.cwd()}" in lines
    assert f"Python executable: {sys.executable}" in lines
    assert "Config file: N/A" in lines
    assert "Initial Models: N/A" in lines
    assert "Blacklist Regex: N/A" in lines
    assert "Preload model: false" in lines


def test_settings() -> None:
    models = (StartupModel("noop.mar"), StartupModel("https://u:secret@h/x.mar?key=1", "x"))
    lines = startup_summary(Config(load_models=models, blacklist_env_vars=re.compile("A.*"), preload_model=True))
    assert "Initial Models: noop.mar,x=https://h/x.mar" in lines
    assert "Blacklist Regex: A.*" in lines
    assert "Preload model: true" in lines
    assert "Initial Models: ALL" in startup_summary(Config(load_models="ALL"))
