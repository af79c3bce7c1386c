"""The command `model-archiver`."""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NoReturn, Self

import click

from model_archiver.errors import ModelArchiverError
from model_archiver.manifest import RUNTIMES
from model_archiver.packaging import HINTS, package_model
from model_archiver.quantization import PRECISIONS, REPORT

logger = logging.getLogger("model_archiver")

_PROGRESS_FROM_BYTES = 50_000_000
_NOT_OF_MMS = ("--quantize", "--calibration-data", "--min-agreement", "--quantize-anyway")
"""Options that give way where the beginning of a name fits one of MMS's as well: `--c` is `--convert`."""


class AbbreviatingCommand(click.Command):
    """Accepts unique beginnings of long options, as argparse and so MMS do."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, self._spelled_out(ctx, args))

    def _spelled_out(self, ctx: click.Context, args: Sequence[str]) -> list[str]:
        takes_value = {
            name: isinstance(param, click.Option) and not param.is_flag
            for param in self.get_params(ctx)
            for name in param.opts
            if name.startswith("--")
        }
        result: list[str] = []
        is_value = False
        for arg in args:
            if is_value or not arg.startswith("--") or arg == "--":
                result.append(arg)
                is_value = False
                continue
            given, equals, value = arg.partition("=")
            name = _only_match(given, list(takes_value), ctx)
            result.append(name + equals + value)
            is_value = takes_value.get(name, False) and not equals
        return result


def _only_match(given: str, names: Sequence[str], ctx: click.Context) -> str:
    matches = sorted(name for name in names if name.startswith(given))
    if given in matches or not matches:
        return given
    if len(matches) > 1:
        matches = [name for name in matches if name not in _NOT_OF_MMS] or matches
    if len(matches) > 1:
        raise click.UsageError(f"ambiguous option: {given} could match {', '.join(matches)}", ctx)
    return matches[0]


@click.command(
    name="model-archiver",
    cls=AbbreviatingCommand,
    help="Model Archiver Tool: package a folder with a model and its handler for the model server.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.option("--model-name", required=True, help="Name of the model. The archive is named after it: NAME.mar.")
@click.option("--model-path", required=True, help="Folder with the files of the model.")
@click.option(
    "--handler", required=True, help="Code that serves the model: MODULE.py:FUNCTION, or a module of one class."
)
@click.option(
    "--runtime", type=click.Choice(RUNTIMES), default="python", show_default=True, help="Interpreter of the handler."
)
@click.option("--export-path", help="Folder to write the archive to. Default: the current folder.")
@click.option(
    "--archive-format",
    type=click.Choice(["tgz", "no-archive", "default"]),
    default="default",
    show_default=True,
    help="default: NAME.mar, which the model server takes as it is. tgz: NAME.tar.gz, for platforms that want model "
    "artifacts in this form. no-archive: a folder NAME with the files and the manifest.",
)
@click.option("-f", "--force", is_flag=True, help="Overwrite an archive of the same name.")
@click.option(
    "-c", "--convert", is_flag=True, help="Convert the one .onnx file of the folder to an MXNet symbol and parameters."
)
@click.option(
    "--quantize",
    type=click.Choice(PRECISIONS),
    help="Convert the MXNet model to this precision, which is faster on current processors. Needs --calibration-data.",
)
@click.option(
    "--calibration-data",
    metavar="DIR",
    help="Folder with samples of what the model will be asked: images or .npy arrays, a few hundred. Half of them are "
    "held out to judge the result.",
)
@click.option(
    "--min-agreement",
    type=click.FloatRange(0, 1),
    default=0.95,
    show_default=True,
    help="Share of the held-out samples that must get the same class as in fp32, or no archive is written.",
)
@click.option("--quantize-anyway", is_flag=True, help="Write the archive even if fewer do.")
def main(
    model_name: str,
    model_path: str,
    handler: str,
    runtime: str,
    export_path: str | None,
    archive_format: str,
    force: bool,
    convert: bool,
    quantize: str | None,
    calibration_data: str | None,
    min_agreement: float,
    quantize_anyway: bool,
) -> None:
    """Package a model; on failure print `ERROR - ...` to stderr and exit 1. On success MMS is silent, and so is this,
    except for one line on a terminal, and for what --quantize has to report."""
    with _logging(), _ProgressLine() as progress:
        try:
            package_model(
                model_name=model_name,
                model_path=model_path,
                handler=handler,
                runtime=runtime,
                export_path=export_path,
                archive_format=archive_format,
                force=force,
                convert=convert,
                quantize=quantize,
                calibration_data=calibration_data,
                min_agreement=min_agreement,
                quantize_anyway=quantize_anyway,
                progress=progress,
            )
        except (ModelArchiverError, OSError) as exc:
            progress.close()
            _fail(exc)


def _fail(error: Exception) -> NoReturn:
    logger.error("%s", error)
    raise SystemExit(1) from error


@contextmanager
def _logging() -> Iterator[None]:
    """Send warnings and errors to stderr in MMS's form, reports to stdout, the line about success to a terminal."""
    messages = logging.StreamHandler(sys.stderr)
    messages.setLevel(logging.WARNING)
    messages.setFormatter(logging.Formatter("%(levelname)s - %(message)s"))
    if not sys.stderr.isatty():
        messages.addFilter(lambda record: record.name != HINTS)
    success = logging.StreamHandler(sys.stdout)
    success.addFilter(lambda record: record.levelno == logging.INFO and (record.name == REPORT or sys.stdout.isatty()))
    level, logger.propagate = logger.level, False
    logger.setLevel(logging.INFO)
    for handler in (messages, success):
        logger.addHandler(handler)
    try:
        yield
    finally:
        for handler in (messages, success):
            logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = True


class _ProgressLine:
    """A bar on the terminal while a large model is read. Call it with the bytes done and the bytes there are."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._advance: Callable[[int], None] | None = None
        self._done = 0

    def __call__(self, done: int, total: int) -> None:
        if total < _PROGRESS_FROM_BYTES or not sys.stderr.isatty():
            return
        if self._advance is None:
            bar = self._stack.enter_context(click.progressbar(length=total, label="Packing", file=sys.stderr))
            self._advance = bar.update
        self._advance(done - self._done)
        self._done = done

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
