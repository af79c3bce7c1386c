"""The block of settings that the server logs when it starts. Front process."""

import sys
from pathlib import Path

from mms.server.config import Config, StartupModels
from mms.server.config.hardware import count_cpus


def startup_summary(config: Config) -> list[str]:
    """Return the lines, in MMS's words and order. Put a line end before the first, as MMS does."""
    blacklist = config.blacklist_env_vars
    entries = [
        ("MMS Home", config.model_server_home),
        ("Current directory", Path.cwd()),
        ("Temp directory", config.temp_dir),
        ("Number of GPUs", config.number_of_gpu),
        ("Number of CPUs", count_cpus()),
        ("Max heap size", None),
        ("Python executable", sys.executable),
        ("Config file", config.config_file),
        ("Inference address", config.inference_address),
        ("Management address", config.management_address),
        ("Model Store", config.model_store),
        ("Initial Models", _models(config.load_models)),
        ("Log dir", config.log_location),
        ("Metrics dir", config.metrics_location),
        ("Netty threads", config.number_of_netty_threads),
        ("Netty client threads", config.netty_client_threads),
        ("Default workers per model", config.startup_workers),
        ("Blacklist Regex", None if blacklist is None else blacklist.pattern),
        ("Maximum Response Size", config.max_response_size),
        ("Maximum Request Size", config.max_request_size),
        ("Preload model", _boolean(config.preload_model)),
        ("Prefer direct buffer", _boolean(config.prefer_direct_buffer)),
    ]
    return [f"{name}: {'N/A' if value is None else value}" for name, value in entries]


def _models(models: StartupModels) -> str | None:
    if models == "ALL":
        return "ALL"
    return ",".join(str(model) for model in models) or None


def _boolean(value: bool) -> str:
    return "true" if value else "false"
