"""Merging defaults, file, command line and environment: order, syntax, errors and warnings as in MMS."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import pytest

from mms.server.config import Address, CommandLineOptions, Config, Hardware, StartupModel, load_config, temp_directory
from mms.server.errors import ConfigurationError

NO_GPU = Hardware(gpus=lambda environ: 0, cpus=lambda: 6)


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(
    text: str | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    hardware: Hardware = NO_GPU,
    models: tuple[str, ...] = (),
    model_store: str | None = None,
) -> Config:
    if text is not None:
        Path("config.properties").write_text(text, encoding="latin-1")
    return load_config(CommandLineOptions(models=models, model_store=model_store), environ or {}, hardware)


def test_without_any_source_everything_is_default() -> None:
    config = load()
    assert config.inference_address == Address("http", "127.0.0.1", 8080)
    assert config.management_address == Address("http", "127.0.0.1", 8081)
    assert (config.max_request_size, config.max_response_size, config.job_queue_size) == (6553500, 6553500, 100)
    assert (config.model_store, config.load_models, config.config_file) == (None, (), None)
    assert config.warnings == ()


def test_java_properties_syntax() -> None:
    config = load(
        "# comment\n! comment\nmodel_store /nowhere\n"
        "  cors_allowed_origin =  http://sp\\u0061ced\\\n    .example  \n"
        "cors_allowed_methods:GET\ncors_allowed_methods=PUT\n"
    )
    assert config.cors_allowed_origin == "http://spaced.example  "
    assert config.cors_allowed_methods == "PUT"
    assert config.model_store == Path("/nowhere")


def test_environment_names_the_file_before_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("job_queue_size=1")
    (tmp_path / "b").write_text("job_queue_size=2")
    Path("config.properties").write_text("job_queue_size=3")
    options = CommandLineOptions(mms_config=str(tmp_path / "a"))
    assert load_config(options, {"MMS_CONFIG_FILE": str(tmp_path / "b")}, NO_GPU).job_queue_size == 2
    assert load_config(options, {}, NO_GPU).job_queue_size == 1
    config = load_config(None, {}, NO_GPU)
    assert (config.job_queue_size, config.config_file) == (3, "config.properties")


def test_missing_file_of_the_environment_is_a_warning() -> None:
    config = load(environ={"MMS_CONFIG_FILE": "/no/such/file"})
    assert config.warnings == ("Configuration file not found: /no/such/file; going on without one.",)


def test_malformed_file_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="^Unable to read configuration file config.properties: "):
        load("model_store=\\u00zz\n")


def test_command_line_wins_over_file() -> None:
    config = load("model_store=/file\nload_models=ALL\n", model_store="/line", models=("a=b.mar", "http://h/c.mar?x=y"))
    assert config.model_store == Path("/line")
    assert config.load_models == (StartupModel("b.mar", "a"), StartupModel("http://h/c.mar?x=y"))


def test_environment_wins_only_when_enabled() -> None:
    environ = {"MMS_LOAD_MODELS": "env.mar", "MMS_JOB_QUEUE_SIZE": "7", "MMS_METRIC_TIME_INTERVAL": "1"}
    assert load("job_queue_size=5", environ, models=("line.mar",)).load_models == (StartupModel("line.mar"),)
    config = load("enable_envvars_config=true\njob_queue_size=5", environ, models=("line.mar",))
    assert config.load_models == (StartupModel("env.mar"),)
    assert config.job_queue_size == 7
    assert config.metric_time_interval == 60  # not for this key


def test_environment_variables_are_put_into_values() -> None:
    config = load("cors_allowed_origin=http://$$HOST$$:$$PORT$$\nunknown=$$", {"HOST": "h", "PORT": "1"})
    assert config.cors_allowed_origin == "http://h:1"


def test_missing_environment_variable_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="^Invalid Environment Variable NO_SUCH$"):
        load("model_store=$$NO_SUCH$$")


def test_empty_value_is_not_set() -> None:
    config = load("load_models=\nmodel_store=$$STORE$$\njob_queue_size= \nmodel_server_home=\n", {"STORE": ""})
    assert (config.load_models, config.model_store, config.job_queue_size) == ((), None, 100)
    assert config.warnings == ()


@pytest.mark.parametrize("text", ["all", "ALL", "All "])
def test_load_models_all(text: str) -> None:
    assert load(f"load_models={text}").load_models == "ALL"


def test_load_models_list_skips_empty_items() -> None:
    assert load("load_models=first=noop.mar,, x.mar ,").load_models == (
        StartupModel("noop.mar", "first"),
        StartupModel("x.mar"),
    )


def test_startup_model_hides_secrets_of_its_url() -> None:
    assert str(StartupModel("https://u:p@host/m.mar?sig=1", "m")) == "m=https://host/m.mar"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("job_queue_size=abc", 'For input string: "abc" (job_queue_size must be a whole number)'),
        ("number_of_netty_threads=abc", 'For input string: "abc" (number_of_netty_threads must be a whole number)'),
        ("max_request_size=9999999999", 'For input string: "9999999999" (max_request_size must be a whole number)'),
        ("job_queue_size=1_0", 'For input string: "1_0" (job_queue_size must be a whole number)'),
        ("job_queue_size=0", "job_queue_size must be at least 1, not 0."),
        ("shutdown_timeout=soon", 'For input string: "soon" (shutdown_timeout must be a number of seconds)'),
        ("inference_address=localhost:8080", "Invalid binding address: localhost:8080"),
        ("management_address=ftp://x", "Invalid binding address: ftp://x"),
        ("inference_address=unix:/x\nuse_native_io=false", "unix domain socket requires use_native_io set to true."),
        ("model_server_home=/no/such/home", "Model server home not exist: /no/such/home"),
        ("private_key_file=/k", "private_key_file and certificate_file must be set together."),
    ],
)
def test_wrong_setting_is_an_error(line: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        load(line)
    assert str(error.value) == message


def test_bad_regex_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match=r"^blacklist_env_vars is not a regular expression: \*bad \("):
        load("blacklist_env_vars=*bad")


def test_ports_above_32767_are_allowed() -> None:
    assert load("inference_address=http://127.0.0.1:40000").inference_address.port == 40000


@pytest.mark.parametrize(("text", "expected"), [("true", True), ("TRUE", True), ("false", False), ("yes", False)])
def test_boolean_is_true_in_any_case(text: str, expected: bool) -> None:
    config = load(f"decode_input_request={text}")
    assert config.decode_input_request is expected
    assert bool(config.warnings) is (text == "yes")


def test_unknown_key_names_the_nearest() -> None:
    config = load("model_stor=/x\nzzz=1\n")
    assert config.warnings == (
        "Unknown configuration key model_stor; did you mean model_store?",
        "Unknown configuration key zzz.",
    )


def test_keys_for_java_are_accepted_and_named_once() -> None:
    config = load(
        "vmargs=-Xmx1g\nnumber_of_netty_threads=4\nasync_logging=true\nio_ratio=50\nprefer_direct_buffer=true\n"
    )
    assert config.number_of_netty_threads == 4
    assert config.warnings == (
        "Accepted for MMS's sake, but without effect here: "
        "async_logging, io_ratio, number_of_netty_threads, prefer_direct_buffer, vmargs.",
    )


def test_management_open_to_the_network_is_a_warning() -> None:
    (warning,) = load("management_address=http://0.0.0.0:8081").warnings
    assert "open to the network on http://0.0.0.0:8081" in warning


@pytest.mark.parametrize(
    ("text", "gpus", "workers"),
    [
        ("", 0, 6),
        ("", 4, 4),
        ("number_of_gpu=2", 4, 2),
        ("number_of_gpu=8", 4, 4),
        ("NUM_WORKERS=3", 4, 3),
        ("NUM_WORKERS=3\ndefault_workers_per_model=5", 4, 5),
        ("debug=true\ndefault_workers_per_model=5", 4, 1),
    ],
)
def test_default_workers(text: str, gpus: int, workers: int) -> None:
    config = load(text, hardware=Hardware(gpus=lambda environ: gpus, cpus=lambda: 6))
    assert config.startup_workers == workers
    assert config.default_workers_per_model == (5 if "model=5" in text else 0)


@pytest.mark.parametrize(
    ("text", "gpus", "workers"),
    [
        ("threads_per_worker=1", 0, 6),
        ("threads_per_worker=2", 0, 3),
        ("threads_per_worker=4", 0, 1),
        ("threads_per_worker=9", 0, 1),
        ("threads_per_worker=3", 2, 2),
        ("threads_per_worker=3\ndefault_workers_per_model=5", 0, 5),
    ],
)
def test_there_are_as_many_workers_as_have_cpus_for_their_threads(text: str, gpus: int, workers: int) -> None:
    config = load(text, hardware=Hardware(gpus=lambda environ: gpus, cpus=lambda: 6))
    assert config.startup_workers == workers
    assert f"threads_per_worker={config.threads_per_worker}" in text


@pytest.mark.parametrize(("inherited", "threads"), [("2", 2), (" 3 ,2", 3), ("", 4), ("0", 4), ("many", 4)])
def test_threads_that_workers_inherit_count(inherited: str, threads: int) -> None:
    hardware = Hardware(gpus=lambda environ: 0, cpus=lambda: 12)
    config = load("threads_per_worker=4", environ={"OMP_NUM_THREADS": inherited}, hardware=hardware)
    assert (config.threads_per_worker, config.startup_workers) == (threads, 12 // threads)


@pytest.mark.parametrize(
    ("text", "response", "start"),
    [
        ("", 7200, 7200),
        ("default_response_timeout=2", 120, 600),
        ("default_response_timeout=2\ndefault_response_timeout_seconds=9", 9, 600),
        ("worker_start_timeout=1.5", 7200, 1.5),
    ],
)
def test_response_timeout_is_in_minutes_unless_in_seconds(text: str, response: float, start: float) -> None:
    config = load(text)
    assert (config.response_timeout, config.worker_start_timeout) == (response, start)


def test_folders_come_from_the_environment(tmp_path: Path) -> None:
    environ = {
        "LOG_LOCATION": "/l",
        "METRICS_LOCATION": "/m",
        "TEMP": str(tmp_path),
        "MODEL_SERVER_HOME": str(tmp_path),
    }
    config = load(environ=environ)
    assert (config.log_location, config.metrics_location) == (Path("/l"), Path("/m"))
    assert (config.temp_dir, config.model_server_home) == (tmp_path, tmp_path.resolve())
    assert load().log_location == tmp_path / "logs"


def test_temp_must_be_a_folder() -> None:
    with pytest.raises(ConfigurationError) as error:
        temp_directory({"TEMP": "/nonexistent/tmp"})
    assert str(error.value) == "Invalid temp directory: /nonexistent/tmp, please check TEMP environment variable."


def test_sagemaker_file() -> None:
    environ = {
        "SAGEMAKER_BIND_TO_PORT": "9000",
        "SAGEMAKER_MODEL_STORE": "/opt/ml/model",
        "SAGEMAKER_HANDLER": "handler.py:handle",
        "SAGEMAKER_NUM_MODEL_WORKERS": "2",
        "SAGEMAKER_RESPONSE_TIMEOUT": "60",
        "SAGEMAKER_MAX_REQUEST_SIZE": "10",
        "SAGEMAKER_MAX_RESPONSE_SIZE": "20",
    }
    config = load_config(CommandLineOptions(mms_config="sagemaker"), environ, NO_GPU)
    assert config.inference_address == config.management_address == Address("http", "0.0.0.0", 9000)
    assert (config.default_service_handler, config.startup_workers) == ("handler.py:handle", 2)
    assert (config.max_request_size, config.max_response_size, config.decode_input_request) == (10, 20, False)
    with pytest.raises(ConfigurationError, match="^Invalid Environment Variable SAGEMAKER_"):
        load_config(CommandLineOptions(mms_config="sagemaker"), {}, NO_GPU)


def test_every_field_says_what_it_is() -> None:
    assert [field.name for field in fields(Config) if len(field.metadata.get("doc", "")) < 10] == []


def test_hidden_variables_match_as_a_whole() -> None:
    config = load("blacklist_env_vars=AWS_.*|TOKEN")
    assert [name for name in ("AWS_KEY", "TOKEN", "MY_TOKEN", "PATH") if config.hides_from_workers(name)] == [
        "AWS_KEY",
        "TOKEN",
    ]
    assert not load("").hides_from_workers("TOKEN")


def test_password_does_not_show() -> None:
    assert "geheim" not in repr(load("keystore_pass=geheim"))
