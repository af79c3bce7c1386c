import logging
import re
import sys
from pathlib import Path

import pytest
from plugin_packages import PluginPackages

from mms.plugin import EndpointType
from mms.server.config import Address, Config, StartupModel
from mms.server.errors import ConfigurationError
from mms.server.plugins import config_texts, load_plugins

HELLO = """
class Hello(ModelServerEndpoint):
    url_pattern = "hello"
    description = "Say hello."

    def do_get(self, request, response, context):
        response.write("hello")

    async def do_put(self, request, response, context):
        pass
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PluginPackages:
    return PluginPackages(tmp_path, monkeypatch)


def hello(**changes: str) -> str:
    """Return HELLO with other words in place of its own."""
    text = HELLO
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return text


def test_a_plugin_is_found_by_the_name_of_its_entry_point(packages: PluginPackages) -> None:
    packages.install(HELLO, greeting="Hello")
    (plugin,) = load_plugins(["greeting"])
    assert (plugin.name, plugin.url_pattern, plugin.description) == ("greeting", "hello", "Say hello.")
    assert plugin.endpoint_type is EndpointType.INFERENCE
    assert sorted(plugin.methods) == ["GET", "PUT"]


def test_each_plugin_that_is_loaded_is_logged(packages: PluginPackages, caplog: pytest.LogCaptureFixture) -> None:
    packages.install(HELLO, greeting="Hello")
    with caplog.at_level(logging.INFO):
        load_plugins(["greeting"])
    assert caplog.messages == ["Endpoint plugin greeting answers /hello (inference)."]


def test_nothing_is_loaded_that_is_not_named(packages: PluginPackages) -> None:
    module = packages.install(HELLO, greeting="Hello")
    assert load_plugins([]) == []
    assert [plugin.name for plugin in load_plugins(["sagemaker-ping"])] == ["sagemaker-ping"]
    assert module not in sys.modules


def test_the_plugins_of_this_distribution_are_known_wherever_it_runs_from() -> None:
    plugins = load_plugins(["execution-parameters", "sagemaker-ping"])
    assert [plugin.url_pattern for plugin in plugins] == ["execution-parameters", "ping"]
    assert all(list(plugin.methods) == ["GET"] for plugin in plugins)


def test_an_unknown_name_is_refused_with_the_known_ones(packages: PluginPackages) -> None:
    packages.install(HELLO, greeting="Hello")
    with pytest.raises(ConfigurationError, match=r"^Unknown endpoint plugin greetings\. Installed are: .*greeting"):
        load_plugins(["greetings"])
    with pytest.raises(ConfigurationError, match="execution-parameters.*sagemaker-ping"):
        load_plugins(["greetings"])


def test_a_name_given_twice_is_loaded_once(packages: PluginPackages) -> None:
    packages.install(HELLO, greeting="Hello")
    assert len(load_plugins(["greeting", "greeting"])) == 1


def test_two_plugins_with_the_same_pattern_are_refused(packages: PluginPackages) -> None:
    packages.install(HELLO, greeting="Hello")
    packages.install(hello(Hello="Good"), welcome="Good")
    message = "The endpoint plugins greeting and welcome have the same url_pattern: hello"
    with pytest.raises(ConfigurationError, match=message):
        load_plugins(["greeting", "welcome"])


def test_a_name_that_two_distributions_claim_is_refused(packages: PluginPackages) -> None:
    names = {packages.install(HELLO, greeting="Hello"), packages.install(HELLO, greeting="Hello")}
    with pytest.raises(ConfigurationError, match="Several distributions have an endpoint plugin greeting") as caught:
        load_plugins(["greeting"])
    assert all(name in str(caught.value) for name in names)


def test_a_distribution_cannot_take_the_name_of_a_shipped_plugin(packages: PluginPackages) -> None:
    packages.install(HELLO, **{"sagemaker-ping": "Hello"})
    with pytest.raises(ConfigurationError, match="Several distributions have an endpoint plugin sagemaker-ping"):
        load_plugins(["sagemaker-ping"])


@pytest.mark.parametrize("given", ["/hello", "hello/", "/hello/"])
def test_slashes_around_a_pattern_mean_nothing(given: str, packages: PluginPackages) -> None:
    packages.install(HELLO.replace('"hello"', f'"{given}"', 1), greeting="Hello")
    assert load_plugins(["greeting"])[0].url_pattern == "hello"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('url_pattern = "hello"', "", "has no url_pattern"),
        ('url_pattern = "hello"', 'url_pattern = "/"', "has no url_pattern"),
        ('url_pattern = "hello"', "url_pattern = 7", "has no url_pattern"),
        ('url_pattern = "hello"', 'url_pattern = "hello/world"', "'hello/world' is not one segment"),
        ('url_pattern = "hello"', 'url_pattern = "hello world"', "'hello world' is not one segment"),
        ('url_pattern = "hello"', 'url_pattern = "api-description"', "/api-description belongs to the server"),
        ('url_pattern = "hello"', 'url_pattern, endpoint_type = "x", "both"', "must be inference or management"),
        ("(ModelServerEndpoint)", "", "is no class derived from mms.plugin.ModelServerEndpoint"),
        ("do_", "on_", "has none of do_get, do_post, do_put and do_delete"),
        ("class Hello", "1 / 0\nclass Hello", "cannot be loaded: ZeroDivisionError: division by zero"),
        ("class Hello", "class Goodbye", "cannot be loaded: AttributeError: .*Hello"),
        ("def do_get", "def __init__(self): open('/nowhere/at/all')\n    def do_get", "cannot be loaded: FileNotFound"),
        ("def do_get", "def __init__(self, size): pass\n    def do_get", "cannot be loaded: TypeError"),
    ],
)
def test_what_is_wrong_with_a_plugin_is_said(old: str, new: str, problem: str, packages: PluginPackages) -> None:
    module = packages.install(HELLO.replace(old, new), greeting="Hello")
    with pytest.raises(ConfigurationError, match=problem) as caught:
        load_plugins(["greeting"])
    assert str(caught.value).startswith(f"Endpoint plugin greeting ({module}:Hello)")


def test_the_log_has_the_traceback_of_a_plugin_that_cannot_be_loaded(
    packages: PluginPackages, caplog: pytest.LogCaptureFixture
) -> None:
    module = packages.install(f"1 / 0\n{HELLO}", greeting="Hello")
    with pytest.raises(ConfigurationError):
        load_plugins(["greeting"])
    assert f"{module}.py" in caplog.text


@pytest.mark.parametrize(
    "given", ['"management"', '"MANAGEMENT"', "__import__('mms.plugin').plugin.EndpointType('management')"]
)
def test_a_plugin_of_the_management_api(given: str, packages: PluginPackages) -> None:
    packages.install(hello(url_pattern=f"endpoint_type = {given}\n    url_pattern"), greeting="Hello")
    assert load_plugins(["greeting"])[0].endpoint_type is EndpointType.MANAGEMENT


def test_settings_are_written_as_in_the_configuration_file() -> None:
    config = Config(
        inference_address=Address("http", "0.0.0.0", 80),
        model_store=Path("/opt/ml/model"),
        load_models=(StartupModel("a.mar"), StartupModel("b.mar", "bee")),
        blacklist_env_vars=re.compile("AWS.*"),
        plugins=("one", "two"),
        decode_input_request=False,
        shutdown_timeout=2.5,
        unregister_model_timeout=120.0,
        startup_workers=3,
    )
    texts = config_texts(config)
    expected = {
        "inference_address": "http://0.0.0.0:80",
        "model_store": "/opt/ml/model",
        "load_models": "a.mar,bee=b.mar",
        "blacklist_env_vars": "AWS.*",
        "plugins": "one,two",
        "decode_input_request": "false",
        "preload_model": "false",
        "shutdown_timeout": "2.5",
        "unregister_model_timeout": "120",
        "startup_workers": "3",
        "max_request_size": "6553500",
    }
    assert {name: texts[name] for name in expected} == expected


def test_settings_without_a_value_and_passwords_are_left_out() -> None:
    texts = config_texts(Config(keystore_pass="secret", warnings=("careful",)))
    assert not {"keystore", "default_service_handler", "load_models", "plugins", "warnings"} & set(texts)
    assert "keystore_pass" not in texts
    assert "secret" not in texts.values()
