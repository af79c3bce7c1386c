"""Unpack a model archive that nobody vouches for. Runs in a thread of the front process."""

import errno
import gzip
import os
import secrets
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from model_archiver.entry_names import MAX_NAME_BYTES, EntryNames
from model_archiver.errors import InvalidModelException
from model_archiver.legacy import LEGACY_MANIFEST
from model_archiver.manifest import MANIFEST_PATH

_ZIP_SIGNATURE = b"PK\x03\x04"
_GZIP_SIGNATURE = b"\x1f\x8b"
_CHUNK_BYTES = 1024 * 1024
_MAX_READ_BYTES = 16 * _CHUNK_BYTES
_GIB = 1024**3


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractionLimits:
    """How much an archive may unpack to. Bytes are counted while they are written; headers are not believed."""

    max_entries: int = 100_000
    max_total_bytes: int = 64 * _GIB
    max_ratio: int = 200
    """Bytes unpacked for each byte of the archive, looked at only beyond `ratio_free_bytes`."""
    ratio_free_bytes: int = _GIB
    max_name_bytes: int = MAX_NAME_BYTES


def extract(archive: Path, destination: Path, *, limits: ExtractionLimits | None = None) -> None:
    """Unpack a zip (`.mar`, `.model`) or tar.gz into `destination`, which must not exist or be an empty folder.

    The kind is told by the content. Any other file, also an empty one, gives an empty folder: MMS then says that the
    model has no name. A model one folder down (`tgz` format, old exporters) is lifted to the top; what lies beside
    that folder is dropped. Files get mode 0600 or 0700, folders 0700.

    Raises `InvalidModelException` for a damaged archive, for entries that are links, devices or encrypted, that
    would lie outside `destination` or on one another, and beyond `limits`. After any error `destination` is gone.
    """
    destination.mkdir(mode=0o700, exist_ok=True)
    if any(destination.iterdir()):
        raise FileExistsError(f"{destination} is not empty.")
    destination.chmod(0o700)
    try:
        with archive.open("rb") as file, _damage_reported(archive.name):
            signature = file.read(4)
            file.seek(0)
            unpacking = _Unpacking(destination, archive.stat().st_size, limits or ExtractionLimits())
            if signature == _ZIP_SIGNATURE:
                _extract_zip(file, unpacking)
            elif signature.startswith(_GZIP_SIGNATURE):
                _extract_tgz(file, unpacking)
        _lift(find_model_folder(destination), destination)
    except BaseException:
        shutil.rmtree(destination, ignore_errors=True)
        raise


def find_model_folder(root: Path) -> Path:
    """Return the folder that holds the manifest: `root` or the only folder in it that has one; `root` if none has."""
    if _has_manifest(root):
        return root
    folders = [path for path in root.iterdir() if path.is_dir() and not path.is_symlink() and _has_manifest(path)]
    return folders[0] if len(folders) == 1 else root


class _Unpacking:
    """Writes the entries of one archive and keeps count."""

    def __init__(self, root: Path, archive_bytes: int, limits: ExtractionLimits) -> None:
        self._root = root
        self._limits = limits
        self._names = EntryNames(max_name_bytes=limits.max_name_bytes)
        self._folders = {PurePosixPath()}
        self._entries = 0
        self._bytes_left = min(limits.max_total_bytes, max(limits.ratio_free_bytes, archive_bytes * limits.max_ratio))

    def add_folder(self, name: str) -> None:
        self._count()
        self._make_folder(self._names.add_folder(name))

    def add_file(self, name: str, source: IO[bytes], *, executable: bool) -> None:
        self._count()
        path = self._names.add_file(name)
        self._make_folder(path.parent)
        # O_EXCL and O_NOFOLLOW: even a name that slipped through the checks can neither replace nor follow anything.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(self._root / path, flags, 0o700 if executable else 0o600)
        with open(descriptor, "wb") as file:
            while chunk := source.read(_CHUNK_BYTES):
                self.spend(len(chunk), name)
                file.write(chunk)

    def spend(self, count: int, name: str) -> None:
        """Count unpacked bytes; refuse the archive when they are too many."""
        self._bytes_left -= count
        if self._bytes_left < 0:
            raise InvalidModelException(f"Archive entry {name!r} makes the archive unpack to too many bytes.")

    def _count(self) -> None:
        self._entries += 1
        if self._entries > self._limits.max_entries:
            raise InvalidModelException(f"Archive has more than {self._limits.max_entries} entries.")

    def _make_folder(self, path: PurePosixPath) -> None:
        if path in self._folders:
            return
        self._make_folder(path.parent)
        (self._root / path).mkdir(mode=0o700)
        self._folders.add(path)


def _extract_zip(file: IO[bytes], unpacking: _Unpacking) -> None:
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            # orig_filename: zipfile cuts `filename` at a NUL, which would hide the rest of the name from the checks.
            name = info.orig_filename
            mode = info.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise InvalidModelException(f"Archive entry {name!r} is a link or a special file.")
            if info.flag_bits & 0x1:
                raise InvalidModelException(f"Archive entry {name!r} is encrypted.")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise InvalidModelException(f"Archive entry {name!r} is compressed with another method than deflate.")
            if name.endswith("/"):
                unpacking.add_folder(name)
                continue
            with archive.open(info) as source:
                unpacking.add_file(name, source, executable=bool(mode & 0o100))


def _extract_tgz(file: IO[bytes], unpacking: _Unpacking) -> None:
    with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:
        content = _BoundedReads(unpacked)
        # tarfile only reads, seeks and tells, but its type stub asks for a whole file object.
        with tarfile.open(fileobj=cast(IO[bytes], content), mode="r:") as archive:
            for member in archive:
                if member.isdir():
                    unpacking.add_folder(member.name)
                    continue
                source = archive.extractfile(member) if member.isreg() else None
                if source is None:
                    raise InvalidModelException(f"Archive entry {member.name!r} is a link or a special file.")
                with source:
                    unpacking.add_file(member.name, source, executable=bool(member.mode & 0o100))
        while chunk := content.read(_CHUNK_BYTES):  # to the end, where gzip compares the checksum
            unpacking.spend(len(chunk), "(padding)")


class _BoundedReads:
    """Keeps tarfile from reading a header of any size it is told into memory."""

    def __init__(self, file: gzip.GzipFile) -> None:
        self._file = file
        self.seek = file.seek
        self.tell = file.tell

    def read(self, size: int) -> bytes:
        if size > _MAX_READ_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._file.read(size)


@contextmanager
def _damage_reported(name: str) -> Iterator[None]:
    """Turn what the standard library raises for damaged archives into `InvalidModelException`."""
    damage = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, ValueError, struct.error, NotImplementedError)
    try:
        yield
    except damage as exc:
        raise InvalidModelException(f"Archive {name} is damaged or incomplete: {exc}") from exc
    except OSError as exc:
        # Without a number: a bad gzip header. The three numbers: an offset or a name in the archive that cannot be.
        if exc.errno not in (None, errno.EINVAL, errno.EILSEQ, errno.ENAMETOOLONG):
            raise
        raise InvalidModelException(f"Archive {name} is damaged or incomplete: {exc}") from exc


def _lift(folder: Path, destination: Path) -> None:
    """Let `folder`, which lies in `destination`, take its place."""
    if folder == destination:
        return
    aside = destination.with_name(f".{destination.name}.{secrets.token_hex(4)}")
    folder.rename(aside)
    try:
        shutil.rmtree(destination)
        aside.rename(destination)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _has_manifest(folder: Path) -> bool:
    return (folder / MANIFEST_PATH).is_file() or (folder / LEGACY_MANIFEST).is_file()
