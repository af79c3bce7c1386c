"""What argparse understood and click would not."""

import click
import pytest

from mms.server.command import LauncherCommand


def parse(*args: str) -> dict[str, object]:
    command = LauncherCommand(
        "program",
        params=[
            *(click.Option([name], is_flag=True) for name in ("--start", "--stop", "--foreground")),
            *(click.Option([name]) for name in ("--mms-config", "--model-store", "--log-config")),
            click.Option(["--models"], multiple=True),
        ],
    )
    return {key: value for key, value in command.make_context("program", list(args)).params.items() if value}


@pytest.mark.parametrize(
    ("args", "models"),
    [
        (("--models", "a", "b=c", "d"), ("a", "b=c", "d")),
        (("--models", "a", "b", "--models", "c"), ("a", "b", "c")),
        (("--models=a", "--models", "b"), ("a", "b")),
    ],
)
def test_models_takes_several_values(args: tuple[str, ...], models: tuple[str, ...]) -> None:
    assert parse(*args) == {"models": models}


def test_models_ends_at_the_next_option() -> None:
    assert parse("--models", "a", "b", "--start", "--model-store", "s") == {
        "models": ("a", "b"),
        "start": True,
        "model_store": "s",
    }


def test_unique_beginnings_are_enough() -> None:
    assert parse("--mms", "x", "--fore", "--log=y", "--model-s", "z") == {
        "mms_config": "x",
        "foreground": True,
        "log_config": "y",
        "model_store": "z",
    }


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--mod",), "ambiguous option: --mod could match --model-store, --models"),
        (("--sto", "--sta"), "argument --stop: not allowed with argument --start"),
        (("--models",), "argument --models: expected at least one argument"),
        (("--models", "--start"), "argument --models: expected at least one argument"),
        (("--mms-config",), "Option '--mms-config' requires an argument."),
        (("something",), "Got unexpected extra argument"),
        (("--bogus",), "--bogus"),
    ],
)
def test_usage_errors_come_with_the_usage(args: tuple[str, ...], message: str) -> None:
    with pytest.raises(click.UsageError) as error:
        parse(*args)
    assert message in error.value.format_message()
    assert error.value.ctx is not None
