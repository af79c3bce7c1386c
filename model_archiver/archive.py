"""The archive format: write it in its three forms, unpack it, read its manifest.

The command line tool writes; the front process unpacks and reads. The same files give the same bytes: entries are
sorted, with fixed times and modes and without names of users.
"""

import gzip
import io
import os
import secrets
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from model_archiver.extraction import ExtractionLimits, extract, find_model_folder
from model_archiver.legacy import LEGACY_MANIFEST, parse_legacy_manifest
from model_archiver.manifest import MANIFEST_PATH, Manifest, default_manifest, load_json_object, parse_manifest

__all__ = [
    "ArchiveFile",
    "ExtractionLimits",
    "Progress",
    "extract",
    "find_model_folder",
    "read_manifest",
    "write_dir",
    "write_manifest",
    "write_mar",
    "write_tgz",
]

Progress = Callable[[int, int], None]
"""Called with the bytes read so far and the bytes there are."""

_CHUNK_BYTES = 1024 * 1024
_EPOCH_OF_ZIP = (1980, 1, 1, 0, 0, 0)
_REGULAR_FILE = 0o100000
_UNIX = 3


@dataclass(frozen=True, slots=True, order=True)
class ArchiveFile:
    """One file of a model: its name in the archive, with forward slashes, and where its content is."""

    name: str
    source: Path


def read_manifest(model_dir: Path) -> Manifest:
    """Read the manifest of an unpacked model: MAR-INF first, then a 0.x MANIFEST.json, else the default one."""
    current = model_dir / MANIFEST_PATH
    if current.is_file():
        return parse_manifest(load_json_object(current, label=MANIFEST_PATH))
    legacy = model_dir / LEGACY_MANIFEST
    if legacy.is_file():
        return parse_legacy_manifest(load_json_object(legacy, label=LEGACY_MANIFEST))
    return default_manifest()


def write_mar(
    target: Path, files: Sequence[ArchiveFile], manifest: Manifest, *, progress: Progress | None = None
) -> None:
    """Write a zip with deflate. An existing `target` is replaced when the new file is complete, not before."""
    counter = _Counter(files, progress)
    with _complete_file(target) as output, zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(files):
            info = _zip_info(file.name, executable=_is_executable(file.source))
            info.file_size = file.source.stat().st_size  # tells zipfile whether the entry needs zip64
            with counter.open(file.source) as source, archive.open(info, "w") as entry:
                shutil.copyfileobj(source, entry, _CHUNK_BYTES)
        archive.writestr(_zip_info(MANIFEST_PATH, executable=False), manifest.dump())


def write_tgz(
    target: Path, files: Sequence[ArchiveFile], manifest: Manifest, *, folder: str, progress: Progress | None = None
) -> None:
    """Write a tar.gz in which everything lies under `folder`. Replaces an existing `target` as `write_mar` does."""
    counter = _Counter(files, progress)
    with (
        _complete_file(target) as output,
        gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=output, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for file in sorted(files):
            with counter.open(file.source) as source:
                info = tarfile.TarInfo(f"{folder}/{file.name}")
                info.size = file.source.stat().st_size
                info.mode = 0o755 if _is_executable(file.source) else 0o644
                archive.addfile(info, source)
        text = manifest.dump().encode()
        info = tarfile.TarInfo(f"{folder}/{MANIFEST_PATH}")
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text))


def write_dir(
    target: Path, files: Sequence[ArchiveFile], manifest: Manifest, *, progress: Progress | None = None
) -> None:
    """Copy the files into the folder `target`. An existing one is replaced when the new one is complete."""
    counter = _Counter(files, progress)
    staging = _temporary_sibling(target)
    staging.mkdir()
    try:
        for file in sorted(files):
            copy = staging / file.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            mode = 0o777 if _is_executable(file.source) else 0o666
            with counter.open(file.source) as source, _create(copy, mode) as output:
                shutil.copyfileobj(source, output, _CHUNK_BYTES)
        write_manifest(staging, manifest)
        _replace_folder(staging, target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def write_manifest(model_dir: Path, manifest: Manifest) -> None:
    """Write or replace the manifest of a model folder."""
    path = model_dir / MANIFEST_PATH
    path.parent.mkdir(exist_ok=True)
    with _complete_file(path) as output:
        output.write(manifest.dump().encode())


class _Counter:
    """Reports how far the reading of the model's files has come."""

    def __init__(self, files: Sequence[ArchiveFile], progress: Progress | None) -> None:
        self._progress = progress
        self._done = 0
        self._total = sum(file.source.stat().st_size for file in files) if progress else 0

    @contextmanager
    def open(self, path: Path) -> Iterator[BinaryIO]:
        with path.open("rb", buffering=0) as raw, io.BufferedReader(_CountedFile(raw, self._add), _CHUNK_BYTES) as file:
            yield file

    def _add(self, count: int) -> None:
        self._done += count
        if self._progress:
            self._progress(self._done, self._total)


class _CountedFile(io.RawIOBase):
    def __init__(self, file: io.FileIO, add: Callable[[int], None]) -> None:
        self._file = file
        self._add = add

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # io always hands over a memoryview
        count = self._file.readinto(buffer)
        self._add(count)
        return count


def _zip_info(name: str, *, executable: bool) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _EPOCH_OF_ZIP)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.create_system = _UNIX
    info.external_attr = (_REGULAR_FILE | (0o755 if executable else 0o644)) << 16
    return info


def _is_executable(path: Path) -> bool:
    return bool(path.stat().st_mode & 0o100)


@contextmanager
def _complete_file(target: Path) -> Iterator[BinaryIO]:
    """Open a file beside `target` that takes its place at the end, or goes away if anything stops the writing."""
    target = target.resolve()  # a link to an archive stays a link
    temporary = _temporary_sibling(target)
    try:
        with _create(temporary, 0o666) as file:
            yield file
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _create(path: Path, mode: int) -> BinaryIO:
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb")


def _temporary_sibling(target: Path) -> Path:
    # A hidden name that ends in .mar: a killed archiver may leave it behind, and the next run must not pack it.
    return target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.mar")


def _replace_folder(staging: Path, target: Path) -> None:
    if not target.exists():
        staging.rename(target)
        return
    old = _temporary_sibling(target)
    target.rename(old)
    try:
        staging.rename(target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old)
