"""Every setting of the server: one field a key of `config.properties`. Runs in the front process.

A field's metadata says the rest: `doc` (for docs/configuration.md), `parse` (text to value; None where the value has
another source than the file), `env` (whether `MMS_<KEY>` may set it) and `effect` (False for keys that only keep old
files valid).
"""

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from mms.server.config import values
from mms.server.config.address import Address, parse_address
from mms.server.config.values import Parser, StartupModels

T = TypeVar("T")


def _key(default: T, parse: Parser, doc: str, *, env: bool = True, effect: bool = True) -> T:
    """Declare a key of the configuration file."""
    return field(default=default, metadata={"parse": parse, "doc": doc, "env": env, "effect": effect})


def _address(*, management: bool) -> Parser:
    """Make the parser of one of the two addresses; their default ports differ."""
    parse = partial(parse_address, management=management)
    return lambda text, key: parse(text)


def _found(default: Callable[[], T], doc: str, *, parse: Parser | None = None) -> T:
    """Declare a field that `load_config` fills from elsewhere than a key, or from a key as well (`parse`)."""
    return field(default_factory=default, metadata={"parse": parse, "doc": doc, "env": False, "effect": True})


@dataclass(frozen=True, kw_only=True)
class Config:
    """The settings of one server, merged, checked and typed. `load_config` makes it; `Config()` is all defaults."""

    # Addresses and limits of the two APIs
    inference_address: Address = _key(
        Address("http", "127.0.0.1", 8080),
        _address(management=False),
        "Where the inference API listens: `http[s]://host[:port]` or `unix:/path`. Port 0 takes a free one.",
    )
    management_address: Address = _key(
        Address("http", "127.0.0.1", 8081),
        _address(management=True),
        "Where the management API listens. Equal to `inference_address`: one port serves both.",
    )
    max_request_size: int = _key(
        6553500, values.whole_number(minimum=0), "Largest request body, in bytes; more is answered 413."
    )
    max_response_size: int = _key(
        6553500, values.whole_number(minimum=0), "Largest answer that a worker may give, in bytes."
    )
    cors_allowed_origin: str | None = _key(
        None, values.string, "Sent as Access-Control-Allow-Origin with every answer, as it is."
    )
    cors_allowed_methods: str | None = _key(
        None, values.string, "Sent as Access-Control-Allow-Methods with every answer, as it is."
    )
    cors_allowed_headers: str | None = _key(
        None, values.string, "Sent as Access-Control-Allow-Headers with every answer, as it is."
    )
    lenient_http: bool = _key(
        False,
        values.boolean,
        "Whether requests are understood that HTTP does not allow but MMS took: lines ended by a line feed alone, "
        "no Host, versions that do not exist, unknown methods, Content-Length beside chunked encoding. Off, since they "
        "let requests be smuggled.",
    )
    plugins: tuple[str, ...] = _key(
        (), values.names, "Endpoint plugins to load: names of entry points, separated by commas."
    )

    # Models
    model_store: Path | None = _key(
        None, values.path, "Folder that relative model urls are looked up in; `--model-store` wins."
    )
    load_models: StartupModels = _key(
        (),
        values.startup_models,
        "Models to load at the start: `ALL` of the model store, or `[name=]url` separated by commas; `--models` wins.",
    )
    default_service_handler: str | None = _key(
        None, values.word, "Handler of models that name none, neither in the request nor in their manifest."
    )
    allow_private_urls: bool = _key(
        False,
        values.boolean,
        "Whether the management API may fetch models from loopback, private and link-local addresses. MMS always did.",
    )
    unregister_model_timeout: float = _key(
        120.0, values.seconds, "Seconds that unregistering a model may take before it is answered 408."
    )

    # Workers
    default_workers_per_model: int = _key(
        0,
        values.whole_number(minimum=0),
        "Workers of each startup model, and default of `initial_workers` of others. 0: startup models get one for each "
        "GPU, or else as many as have CPUs for their threads; others none.",
    )
    threads_per_worker: int = _key(
        1,
        values.whole_number(minimum=1),
        "Threads that a worker computes with, as its `OMP_NUM_THREADS`.",
    )
    startup_workers: int = _found(lambda: 1, "What `default_workers_per_model` comes to on this machine.")
    job_queue_size: int = _key(
        100, values.whole_number(minimum=1), "Requests that may wait for one model; one more is answered 503."
    )
    default_response_timeout: int = _key(
        120,
        values.whole_number(minimum=1),
        "Time that a worker may take for one batch, in MINUTES, as in MMS in spite of its documentation.",
    )
    default_response_timeout_seconds: int | None = _key(
        None,
        values.whole_number(minimum=1),
        "Time that a worker may take for one batch, in seconds; wins over `default_response_timeout`.",
    )
    worker_start_timeout: float = _key(
        600.0,
        values.seconds,
        "Seconds that a worker may take to start and load its model; default the response timeout, but at least 600.",
    )
    shutdown_timeout: float = _key(
        30.0, values.seconds, "Seconds that running requests get to finish when the server is stopped."
    )
    worker_backend: str = _key(
        "process", values.word, "How workers run: `process`, `spawn`, `prefork` or `package.module:Class`."
    )
    preload_model: bool = _key(
        False, values.boolean, "Whether a model is loaded once and its workers are forked from that process."
    )
    decode_input_request: bool = _key(
        True, values.boolean, "Whether handlers get JSON and text decoded; otherwise always bytes."
    )
    blacklist_env_vars: re.Pattern[str] | None = _key(
        None,
        values.pattern,
        "Regular expression; environment variables whose whole name matches are hidden from workers.",
    )
    number_of_gpu: int = _key(
        0, values.whole_number(minimum=0), "Largest number of GPUs to use; default all. Fewer when fewer are there."
    )
    debug: bool = _key(False, values.boolean, "One worker a model, no response timeout, and a more detailed log.")

    # TLS
    keystore: Path | None = _key(
        None, values.path, "Key store with private key and certificates; wins over the next two files."
    )
    keystore_pass: str = field(
        default="changeit",
        repr=False,
        metadata={"parse": values.string, "doc": "Password of `keystore`.", "env": True, "effect": True},
    )
    keystore_type: str = _key("PKCS12", values.word, "Format of `keystore`; only PKCS12 can be read.")
    private_key_file: Path | None = _key(
        None, values.path, "Private key in PEM format, PKCS#8 or PKCS#1, RSA or EC, without a password."
    )
    certificate_file: Path | None = _key(
        None, values.path, "Certificate in PEM format, followed by the certificates that lead to its root."
    )

    # The server itself
    metric_time_interval: int = _key(
        60, values.whole_number(minimum=1), "Seconds between two lines of each host metric.", env=False
    )
    enable_envvars_config: bool = _key(
        False, values.boolean, "Whether environment variables `MMS_<KEY>` win over file and command line.", env=False
    )
    model_server_home: Path = _found(
        lambda: Path(__file__).parents[3],
        "Shown at the start as MMS Home; environment variable MODEL_SERVER_HOME wins.",
        parse=values.path,
    )

    # Kept for existing files; nothing here needs them
    vmargs: str | None = _key(None, values.string, "Options of the Java machine.", env=False, effect=False)
    number_of_netty_threads: int = _key(0, values.whole_number(minimum=0), "Threads of the front end.", effect=False)
    netty_client_threads: int = _key(0, values.whole_number(minimum=0), "Threads towards workers.", effect=False)
    use_native_io: bool = _key(
        True, values.boolean, "False still refuses `unix:` addresses, as in MMS.", env=False, effect=False
    )
    io_ratio: int = _key(50, values.whole_number(minimum=0), "Share of I/O in Netty's loop.", env=False, effect=False)
    prefer_direct_buffer: bool = _key(False, values.boolean, "Kind of Netty's buffers.", effect=False)
    async_logging: bool = _key(False, values.boolean, "Logs are always written in the background.", effect=False)
    plugins_path: str | None = _key(
        None, values.string, "Folder of Java plugins; `plugins` names Python ones.", effect=False
    )

    # From the environment and the command line
    sagemaker_multi_model: bool = _found(
        lambda: False,
        "Whether this is the container of a SageMaker multi-model endpoint: environment variable "
        "SAGEMAKER_MULTI_MODEL or SAGEMAKER_MULTI_MODE.",
    )
    config_file: str | None = _found(
        lambda: None, "The file that was read: MMS_CONFIG_FILE, `--mms-config`, ./config.properties."
    )
    log_config: Path | None = _found(lambda: None, "The file given by `--log-config`.")
    log_location: Path = _found(lambda: Path("logs"), "Folder of three log files: environment variable LOG_LOCATION.")
    metrics_location: Path = _found(
        lambda: Path("logs"), "Folder of two metrics files: environment variable METRICS_LOCATION."
    )
    temp_dir: Path = _found(
        lambda: Path(tempfile.gettempdir()), "Folder of unpacked models: environment variable TEMP, or the system's."
    )
    warnings: tuple[str, ...] = _found(lambda: (), "What `load_config` noticed; whoever called it logs them.")

    @property
    def response_timeout(self) -> float:
        """Seconds that a worker may take for one batch, unless its model was registered with another time."""
        if self.debug:
            return 365 * 86400.0
        return float(self.default_response_timeout_seconds or self.default_response_timeout * 60)

    def hides_from_workers(self, name: str) -> bool:
        """Whether the environment variable `name` is kept from workers (`blacklist_env_vars`)."""
        return self.blacklist_env_vars is not None and self.blacklist_env_vars.fullmatch(name) is not None
