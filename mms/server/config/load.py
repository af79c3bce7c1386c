"""`load_config`: the only place where defaults, file, command line and environment meet. Runs in the front process."""

import difflib
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from mms.server.config.hardware import count_cpus, count_gpus
from mms.server.config.settings import Config
from mms.server.config.values import is_true, whole_number
from mms.server.errors import ConfigurationError

_SAGEMAKER_CONFIG = Path(__file__).parents[2] / "configs" / "sagemaker_config.properties"
_ENVIRONMENT_VARIABLE = re.compile(r"\$\$(\w+)\$\$")
# MMS's own names for values that it kept among the settings; a file may hold them.
_INTERNAL_KEYS = ("NUM_WORKERS", "PYTHON_EXECUTABLE", "mmsConfigFile")
# The first is the SageMaker toolkit's, the second that of MMS's plugins.
_MULTI_MODEL_VARIABLES = ("SAGEMAKER_MULTI_MODEL", "SAGEMAKER_MULTI_MODE")


@dataclass(frozen=True, kw_only=True)
class CommandLineOptions:
    """What the command line says about the configuration."""

    mms_config: str | None = None
    """A file name, or `sagemaker` for the packaged file."""
    model_store: str | None = None
    models: Sequence[str] = ()
    log_config: str | None = None


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """How the machine is counted; tests put in machines they do not have."""

    gpus: Callable[[Mapping[str, str]], int] = count_gpus
    cpus: Callable[[], int] = count_cpus


@dataclass(kw_only=True)
class _Sources:
    """The texts of all keys that were set, and what was noticed while collecting them."""

    texts: dict[str, str]
    config_file: str | None
    warnings: list[str] = field(default_factory=list)


def temp_directory(environ: Mapping[str, str] | None = None) -> Path:
    """Return the folder named by TEMP, or the system's. Raises ConfigurationError with MMS's words."""
    name = (os.environ if environ is None else environ).get("TEMP")
    if not name:
        return Path(tempfile.gettempdir())
    if not Path(name).is_dir():
        raise ConfigurationError(f"Invalid temp directory: {name}, please check TEMP environment variable.")
    return Path(name)


def load_config(
    options: CommandLineOptions | None = None,
    environ: Mapping[str, str] | None = None,
    hardware: Hardware | None = None,
) -> Config:
    """Merge all sources; the last of these wins: defaults, file, `--model-store` and `--models`, `MMS_<KEY>`.

    An empty text counts as not set. `environ` defaults to the environment of the process.
    Raises ConfigurationError for the first wrong setting.
    MMS: frontend/.../util/ConfigManager.java.
    """
    options = options or CommandLineOptions()
    environ = os.environ if environ is None else environ
    hardware = hardware or Hardware()
    keys = {key.name: key for key in fields(Config) if key.metadata["parse"]}
    sources = _read_sources(options, environ, keys)
    settings: dict[str, Any] = {
        name: keys[name].metadata["parse"](text, name)
        for name, text in sources.texts.items()
        if name in keys and text.strip()
    }
    settings |= _resolve(settings, sources, environ, hardware)
    config = Config(
        **settings,
        sagemaker_multi_model=any(is_true(environ.get(name, "")) for name in _MULTI_MODEL_VARIABLES),
        config_file=sources.config_file,
        log_config=Path(options.log_config).resolve() if options.log_config else None,
        log_location=Path(environ.get("LOG_LOCATION") or "logs").absolute(),
        metrics_location=Path(environ.get("METRICS_LOCATION") or "logs").absolute(),
        temp_dir=temp_directory(environ),
    )
    if "worker_start_timeout" not in settings:
        config = replace(config, worker_start_timeout=max(config.worker_start_timeout, config.response_timeout))
    return replace(config, warnings=(*sources.warnings, *_warnings(sources.texts, keys), *_checked(config)))


def _read_sources(options: CommandLineOptions, environ: Mapping[str, str], keys: Mapping[str, Field[Any]]) -> _Sources:
    """Collect the text of every key that is set anywhere."""
    sources = _read_file(options, environ)
    if options.model_store is not None:
        sources.texts["model_store"] = options.model_store
    if options.models:
        sources.texts["load_models"] = ",".join(options.models)
    if is_true(sources.texts.get("enable_envvars_config", "")):
        for name, key in keys.items():
            if key.metadata["env"] and (text := environ.get(f"MMS_{name.upper()}")) is not None:
                sources.texts[name] = text
    return sources


def _read_file(options: CommandLineOptions, environ: Mapping[str, str]) -> _Sources:
    """Find and read the properties file; the last of equal keys wins."""
    given = environ.get("MMS_CONFIG_FILE") or options.mms_config
    name = given or "config.properties"
    if name == "sagemaker":
        name = str(_SAGEMAKER_CONFIG)
    file = Path(name)
    if not file.is_file():
        warnings = [f"Configuration file not found: {name}; going on without one."] if given else []
        return _Sources(texts={}, config_file=None, warnings=warnings)
    # A seventh of a start without a file.
    import javaproperties

    try:
        with file.open("rb") as stream:  # bytes, because these files are Latin-1
            raw = javaproperties.load(stream)
    except (OSError, ValueError) as exc:  # ValueError: a malformed \u escape
        raise ConfigurationError(f"Unable to read configuration file {name}: {exc}") from exc
    texts = {key: _substitute(text, environ) for key, text in raw.items()}
    return _Sources(texts=texts, config_file=name)


def _substitute(text: str, environ: Mapping[str, str]) -> str:
    """Replace every `$$NAME$$` by the environment variable NAME."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in environ:
            raise ConfigurationError(f"Invalid Environment Variable {match[1]}")
        return environ[match[1]]

    return _ENVIRONMENT_VARIABLE.sub(value, text)


def _resolve(
    settings: Mapping[str, Any], sources: _Sources, environ: Mapping[str, str], hardware: Hardware
) -> dict[str, Any]:
    """Return the settings that depend on the machine or on one another."""
    resolved: dict[str, Any] = {}
    gpus = hardware.gpus(environ)
    resolved["number_of_gpu"] = min(gpus, settings.get("number_of_gpu", gpus))
    workers = settings.get("default_workers_per_model", 0)
    if workers == 0 and "NUM_WORKERS" in sources.texts:
        workers = whole_number(minimum=0)(sources.texts["NUM_WORKERS"], "NUM_WORKERS")
    threads = _own_threads(environ) or settings.get("threads_per_worker", 1)
    resolved["threads_per_worker"] = threads
    resolved["startup_workers"] = (
        1 if settings.get("debug") else workers or resolved["number_of_gpu"] or max(1, hardware.cpus() // threads)
    )
    if settings.get("model_store"):
        resolved["model_store"] = settings["model_store"].resolve()
    home = environ.get("MODEL_SERVER_HOME") or settings.get("model_server_home")
    if home:
        if not Path(home).exists():
            raise ConfigurationError(f"Model server home not exist: {home}")
        resolved["model_server_home"] = Path(home).resolve()
    return resolved


def _own_threads(environ: Mapping[str, str]) -> int:
    """Return the OMP_NUM_THREADS that workers inherit, or 0. Of a list, only nested work looks beyond the first."""
    outermost = environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(outermost) if outermost.isdecimal() else 0


def _checked(config: Config) -> list[str]:
    """Refuse settings that do not go together, and return warnings about those that are risky."""
    addresses = (config.inference_address, config.management_address)
    if not config.use_native_io and any(address.scheme == "unix" for address in addresses):
        raise ConfigurationError("unix domain socket requires use_native_io set to true.")
    if (config.private_key_file is None) != (config.certificate_file is None):
        raise ConfigurationError("private_key_file and certificate_file must be set together.")
    if config.management_address.is_local:
        return []
    return [
        f"The management API is open to the network on {config.management_address}: whoever reaches it can load "
        "and run code on this machine."
    ]


def _warnings(texts: Mapping[str, str], keys: Mapping[str, Field[Any]]) -> list[str]:
    """Return what is odd about the keys that were set: unknown, without effect, or neither true nor false."""
    warnings = []
    for name in texts:
        if name in keys or name in _INTERNAL_KEYS:
            continue
        nearest = difflib.get_close_matches(name, keys, n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else "."
        warnings.append(f"Unknown configuration key {name}{hint}")
    idle = sorted(name for name in texts if name in keys and not keys[name].metadata["effect"])
    if idle:
        warnings.append(f"Accepted for MMS's sake, but without effect here: {', '.join(idle)}.")
    if texts.get("plugins_path", "").strip():
        warnings.append(
            "The Java plugins of plugins_path are not loaded; plugins=sagemaker-ping,execution-parameters takes the "
            "place of MMS's own."
        )
    for name, text in texts.items():
        if name not in keys or not isinstance(keys[name].default, bool):
            continue
        if text.strip().lower() not in ("true", "false", ""):
            warnings.append(f"{name} is neither true nor false and counts as false: {text}")
    return warnings
