"""The command lines `multi-model-server`, its old name `mxnet-model-server`, and `multi-model-export`.

`multi-model-server` is a launcher: it checks what it was given and starts or stops a server, which is another program
(main.py). It never imports the server, and is gone from memory before that begins: what it imports, a start waits for.
"""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from mms.server.arguments import ServerArguments
from mms.server.command import LauncherCommand
from mms.server.config import CommandLineOptions, Hardware, load_config, temp_directory
from mms.server.daemon import become_server, start_in_background
from mms.server.errors import ConfigurationError
from mms.server.pid_file import ALREADY_RUNNING, PROGRAM, DaemonError, DamagedPidFile, PidFile
from mms.version import __version__


def multi_model_server() -> None:
    """Run the console script."""
    _launcher.main(sys.argv[1:], prog_name=PROGRAM)


def mxnet_model_server() -> None:
    """Run the console script of the old name: the same, after a word about it."""
    click.echo(f"Warning: Calling MMS with mxnet-model-server. Please move to {PROGRAM}.")
    multi_model_server()


def multi_model_export() -> None:
    """Say what took the place of the exporter."""
    yellow, plain = "\033[93m", "\033[0m"  # as in MMS, even where nobody sees colours
    sys.stdout.write(
        f"{yellow}multi-model-export is no longer supported.\n"
        "Please use model-archiver to create 1.0 model archive.\n"
        f"For more detail, see: https://pypi.org/project/model-archiver{plain}\n"
    )


@click.command(cls=LauncherCommand, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--start", is_flag=True, help="Start the server in the background and return when it listens (default).")
@click.option("--stop", is_flag=True, help="Stop the server, after the requests that are running.")
@click.option("--foreground", is_flag=True, help="Start the server here, and return when it ends.")
@click.option("--mms-config", metavar="FILE", help="Configuration file, or `sagemaker` for the packaged one.")
@click.option("--model-store", metavar="FOLDER", help="Where models given by a relative location are.")
@click.option(
    "--models",
    metavar="[NAME=]LOCATION...",
    multiple=True,
    help="Models to load: archives or folders in the model store, or URLs. ALL means the whole store.",
)
@click.option("--log-config", metavar="FILE", help="Logging configuration: log4j2.xml, or Python's in JSON or TOML.")
@click.version_option(__version__, "-V", message="%(version)s", help="Show the version and exit.")
def _launcher(
    start: bool,
    stop: bool,
    foreground: bool,
    mms_config: str | None,
    model_store: str | None,
    models: Sequence[str],
    log_config: str | None,
) -> None:
    """Serve models over HTTP. Without --stop the server is started."""
    options = CommandLineOptions(
        mms_config=mms_config, model_store=model_store, models=tuple(models), log_config=log_config
    )
    try:
        sys.exit(_stop() if stop else _start(options, foreground=foreground))
    except DaemonError as exc:
        click.echo(str(exc), err=True)
        sys.exit(1)


def _stop() -> int:
    """Stop the server of this temp folder; stopping what does not run is no failure."""
    # Late: it needs psutil, whose import would cost every start several milliseconds.
    from mms.server.stop import stop

    pid_file = PidFile()
    if not pid_file.exists():
        click.echo("Model server is not currently running.")
        return 0
    server = pid_file.server()
    if server is None:
        click.echo("Model server already stopped.")
    else:
        stop(server)
        click.echo("Model server stopped.")
    pid_file.discard()
    return 0


def _start(options: CommandLineOptions, *, foreground: bool) -> int:
    """Check the command line and start the server; return the exit code."""
    with contextlib.suppress(DamagedPidFile):  # whoever starts replaces it
        if PidFile().server() is not None:
            click.echo(ALREADY_RUNNING)
            return 1
    try:
        problem = _check(options)
        # Read here for one value only, and to fail at once; the GPUs do not matter yet.
        config = None if problem else load_config(options, hardware=Hardware(gpus=lambda environ: 0))
    except ConfigurationError as exc:
        problem = f"Invalid configuration: {exc}"
    if problem or config is None:
        click.echo(problem)
        return 1
    arguments = ServerArguments(options).to_list()
    if foreground:
        become_server(arguments, shutdown_timeout=config.shutdown_timeout)
    return start_in_background(arguments, shutdown_timeout=config.shutdown_timeout)


def _check(options: CommandLineOptions) -> str | None:
    """Return what is wrong with the command line, in MMS's words and order, or None."""
    if options.log_config and not Path(options.log_config).is_file():
        return f"--log-config file not found: {Path(options.log_config).resolve()}"
    try:
        temp_directory()
    except ConfigurationError as exc:
        return str(exc)
    if options.mms_config not in (None, "sagemaker") and not Path(str(options.mms_config)).is_file():
        return f"--mms-config file not found: {options.mms_config}"
    if options.model_store is not None and not Path(options.model_store).is_dir():
        return f"--model-store directory not found: {options.model_store}"
    if options.model_store is None and any(not _is_url(model) for model in options.models):
        return "--model-store is required to load model locally."
    return None


def _is_url(model: str) -> bool:
    """Whether `[name=]location` is fetched over the network."""
    _, _, location = model.partition("=") if "=" in model.split("/")[0] else ("", "", model)
    return location.lower().startswith(("http://", "https://"))
