"""Package a model folder: check the inputs, choose the files, write the archive. Runs in the command line tool."""

import logging
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from model_archiver.archive import ArchiveFile, Progress, write_dir, write_manifest, write_mar, write_tgz
from model_archiver.entry_names import EntryNames
from model_archiver.errors import ModelArchiverError
from model_archiver.handler_check import find_handler_problem
from model_archiver.manifest import MANIFEST_PATH, RUNTIMES, Manifest, Model
from model_archiver.onnx import convert_onnx, find_onnx_file
from model_archiver.quantization import check_options, quantize_model

logger = logging.getLogger(__name__)
HINTS = "model_archiver.hints"
"""Logger of warnings that may be wrong; the command line shows them on a terminal only."""

FORMATS = {"default": ".mar", "tgz": ".tar.gz", "no-archive": ""}
_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_\-.]*$"
_SKIPPED_FOLDERS = ("__MACOSX", "__pycache__")
_SKIPPED_SUFFIXES = (".pyc", ".DS_Store", ".mar")
_SECRETS = re.compile(
    r"\.env(\..*)?|\.envrc|\.netrc|_netrc|\.npmrc|\.pypirc|\.git|\.git-credentials|\.gitconfig|\.htpasswd|\.pgpass"
    r"|\.my\.cnf|\.boto|\.s3cfg|\.dockercfg|\.vault-token|\.[a-z]+_history"
)


def package_model(
    *,
    model_name: str,
    model_path: str | os.PathLike[str],
    handler: str,
    runtime: str = "python",
    export_path: str | os.PathLike[str] | None = None,
    archive_format: str = "default",
    force: bool = False,
    convert: bool = False,
    quantize: str | None = None,
    calibration_data: str | os.PathLike[str] | None = None,
    min_agreement: float = 0.95,
    quantize_anyway: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write a model archive and return its path; the arguments are the options of `model-archiver`.

    `export_path` defaults to the current folder, `archive_format` is `default` (a .mar), `tgz` or `no-archive`.
    Left out are hidden folders, `__MACOSX`, `__pycache__`, files named MANIFEST.json, `*.pyc`, `*.DS_Store`, `*.mar`
    (all as in MMS), and hidden files that hold secrets (`.env`, `.netrc`, `.git-credentials` and their like; a
    warning names each). Other hidden files are packed. Links to folders are skipped; a link to a file is packed as
    that file, which must lie in the model path. Folders without files are not kept.

    `quantize` is `int8` or `bf16`: the MXNet model is converted and judged with the samples of `calibration_data`,
    which are not packed.

    Raises `ModelArchiverError`; then nothing was written and an older archive is as it was.
    """
    target = _checked_target(model_name, model_path, export_path, archive_format, force=force)
    quantization = check_options(quantize, calibration_data, min_agreement=min_agreement, anyway=quantize_anyway)
    if runtime not in RUNTIMES:
        raise ModelArchiverError(f"Runtime {runtime} is not one of {', '.join(RUNTIMES)}.")
    root = Path(model_path).resolve()
    in_place = target.is_dir() and target.samefile(root)
    if target.is_dir() and not in_place:
        _check_replaceable(target, root)
    for option, is_given in {"--convert": convert, "--quantize": quantization is not None}.items():
        if in_place and is_given:
            raise ModelArchiverError(f"{option} cannot work in place. Point --export-path to another directory.")
    onnx_file = find_onnx_file(root) if convert else None
    _warn_about_handler(root, handler)
    manifest = Manifest(model=Model(name=model_name, handler=handler), runtime=runtime)
    if in_place:
        write_manifest(target, manifest)
        return target
    with ExitStack() as stack:
        files = list(_model_files(root, skip=target.resolve()))
        if onnx_file:
            output = stack.enter_context(tempfile.TemporaryDirectory())
            files = convert_onnx(onnx_file, files, model_name=model_name, output=Path(output))
        if quantization:
            output = stack.enter_context(tempfile.TemporaryDirectory())
            files = quantize_model(files, quantization, model_name=model_name, handler=handler, output=Path(output))
        _check_names(files)
        _write(target, files, manifest, archive_format=archive_format, progress=progress)
    logger.info("Wrote %s: %d files, %s bytes.", target, len(files) + 1, f"{_size(target):,}")
    return target


def _write(
    target: Path,
    files: list[ArchiveFile],
    manifest: Manifest,
    *,
    archive_format: str,
    progress: Progress | None,
) -> None:
    if archive_format == "no-archive":
        write_dir(target, files, manifest, progress=progress)
    elif archive_format == "tgz":
        write_tgz(target, files, manifest, folder=manifest.model.name or "", progress=progress)
    else:
        write_mar(target, files, manifest, progress=progress)


def _checked_target(
    model_name: str,
    model_path: str | os.PathLike[str],
    export_path: str | os.PathLike[str] | None,
    archive_format: str,
    *,
    force: bool,
) -> Path:
    """Check the inputs in MMS's order and with its texts, and return the path to write."""
    if not re.fullmatch(_NAME_PATTERN.removesuffix("$"), model_name):
        raise ModelArchiverError(
            "Model name contains special characters.\n"
            f"The allowed regular expression filter for model name is: {_NAME_PATTERN}"
        )
    export = os.fspath(export_path) if export_path is not None else os.fspath(Path.cwd())
    if not _is_folder(export):
        raise ModelArchiverError(
            f"Given export-path {export} is not a directory. Point to a valid export-path directory."
        )
    model = os.fspath(model_path)
    if not _is_folder(model):
        raise ModelArchiverError(
            f"Given model-path {model} is not a valid directory. Point to a valid model-path directory."
        )
    if archive_format not in FORMATS:
        raise ModelArchiverError(f"Archive format {archive_format} is not one of {', '.join(FORMATS)}.")
    target = Path(export) / f"{model_name}{FORMATS[archive_format]}"
    if os.path.lexists(target):
        _check_overwriting(target, is_folder=archive_format == "no-archive", force=force)
    return target


def _check_overwriting(target: Path, *, is_folder: bool, force: bool) -> None:
    if not force:
        raise ModelArchiverError(
            f"{target} already exists.\n"
            "Please specify --force/-f option to overwrite the model archive output file.\n"
            "See -h/--help for more details."
        )
    if target.is_dir() != is_folder:
        raise ModelArchiverError(f"{target} is {'not ' if is_folder else ''}a directory and cannot be overwritten.")
    logger.warning("Overwriting %s ...", target)


def _check_replaceable(target: Path, root: Path) -> None:
    """Refuse to replace a folder, and so to delete what is in it, unless it is plainly an older archive."""
    if target.is_symlink():
        raise ModelArchiverError(f"{target} is a link to a directory and cannot be overwritten.")
    if root.is_relative_to(target.resolve()):
        raise ModelArchiverError(f"{target} contains the model path and cannot be overwritten.")
    if any(target.iterdir()) and not (target / MANIFEST_PATH).is_file():
        raise ModelArchiverError(f"{target} is not a model archive: it has no {MANIFEST_PATH}. Remove it first.")


def _is_folder(path: str) -> bool:
    # Path("") is the current folder, but nobody who gives an empty path means that.
    return bool(path) and "\0" not in path and Path(path).is_dir()


def _warn_about_handler(root: Path, handler: str) -> None:
    problem = find_handler_problem(root, handler)
    if problem:
        (logger if problem.certain else logging.getLogger(HINTS)).warning("%s", problem.message)


def _model_files(root: Path, *, skip: Path) -> Iterator[ArchiveFile]:
    """Find the files to pack; `skip` is the output, which may lie inside the model path."""
    for folder, folders, names in os.walk(root, onerror=_raise):
        here = Path(folder)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and name not in _SKIPPED_FOLDERS and here / name != skip
        )
        for name in sorted(names):
            path = here / name
            if name == Path(MANIFEST_PATH).name or name.endswith(_SKIPPED_SUFFIXES) or path == skip:
                continue
            source = _followed(path, root)
            if _SECRETS.fullmatch(name) or _SECRETS.fullmatch(source.name):
                logger.warning(
                    "%s may hold secrets and is left out. If the model needs it, give it another name.", path
                )
            elif source.is_file():
                yield ArchiveFile(path.relative_to(root).as_posix(), source)
            else:
                logger.warning("%s is not a regular file and is left out.", path)


def _followed(path: Path, root: Path) -> Path:
    if not path.is_symlink():
        return path
    try:
        source = path.resolve(strict=True)
    except (OSError, RuntimeError) as exc:
        raise ModelArchiverError(f"{path} is a link to a file that does not exist.") from exc
    if not source.is_relative_to(root):
        raise ModelArchiverError(
            f"{path} is a link to {source}, outside of the model path.\nCopy the file into the model path to pack it."
        )
    return source


def _check_names(files: list[ArchiveFile]) -> None:
    """Refuse what the server would refuse when it unpacks the archive."""
    names = EntryNames()
    for file in files:
        names.add_file(file.name)
    names.add_file(MANIFEST_PATH)


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _raise(error: OSError) -> None:
    raise error
