"""What MMS's argparse took and click does not. Runs in the launcher."""

from collections.abc import Sequence

import click

_VALUED = ("--mms-config", "--model-store", "--models", "--log-config")
_FLAGS = ("--start", "--stop", "--foreground", "--help")


class LauncherCommand(click.Command):
    """A command whose options may be abbreviated and whose `--models` takes several values: `--models a b=c --stop`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        args = _models_repeated([_unabbreviated(ctx, arg) for arg in args])
        if "--start" in args and "--stop" in args:
            raise click.UsageError("argument --stop: not allowed with argument --start", ctx)
        if args[-1:] == ["--models"]:
            raise click.UsageError("argument --models: expected at least one argument", ctx)
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as exc:
            exc.ctx = exc.ctx or ctx  # without it the usage would not be shown
            raise


def _unabbreviated(ctx: click.Context, argument: str) -> str:
    """Return the argument with the full name of its option, as argparse has it: any unique beginning will do."""
    name, separator, value = argument.partition("=")
    if not name.startswith("--") or name in (*_VALUED, *_FLAGS, "--"):
        return argument
    found = [option for option in (*_FLAGS, *_VALUED) if option.startswith(name)]
    if len(found) > 1:
        raise click.UsageError(f"ambiguous option: {name} could match {', '.join(found)}", ctx)
    return f"{found[0]}{separator}{value}" if found else argument


def _models_repeated(arguments: Sequence[str]) -> list[str]:
    """Turn `--models a b` into `--models=a --models=b`; the list ends at the next option."""
    result: list[str] = []
    taking = False
    for index, argument in enumerate(arguments):
        if argument == "--models":
            followed = index + 1 < len(arguments) and not arguments[index + 1].startswith("-")
            taking = followed
            if not followed:
                # Left bare at the end, so that the command sees that its values are missing.
                return [*result, argument]
        elif taking and not argument.startswith("-"):
            result.append(f"--models={argument}")
        else:
            taking = False
            result.append(argument)
    return result
