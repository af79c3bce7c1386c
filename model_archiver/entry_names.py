"""The rule for names inside an archive, kept when the archiver writes one and when the front process unpacks one."""

import re
import unicodedata
from pathlib import PurePosixPath

from model_archiver.errors import InvalidModelException

MAX_NAME_BYTES = 1024
_MAX_PART_BYTES = 255  # of every file system in use
_DRIVE = re.compile(r"[A-Za-z]:")


class EntryNames:
    """The names seen so far in one archive. Refuses a name that could leave the folder or replace another entry."""

    def __init__(self, *, max_name_bytes: int = MAX_NAME_BYTES) -> None:
        self._max_name_bytes = max_name_bytes
        self._spelling: dict[str, str] = {}
        self._files: set[str] = set()

    def add_file(self, name: str) -> PurePosixPath:
        """Return the relative path of a file entry, or raise `InvalidModelException` naming the entry."""
        path = self._checked(name)
        if path == PurePosixPath():
            raise InvalidModelException(f"Archive entry {name!r} has no name.")
        self._add_folders(path.parent, name)
        key = _key(str(path))
        if key in self._spelling:
            raise InvalidModelException(
                f"Archive entry {name!r} collides with {self._spelling[key]!r}:"
                " names must differ in more than upper and lower case."
            )
        self._spelling[key] = str(path)
        self._files.add(key)
        return path

    def add_folder(self, name: str) -> PurePosixPath:
        """Return the relative path of a folder entry; a folder may be named any number of times."""
        path = self._checked(name)
        self._add_folders(path, name)
        return path

    def _add_folders(self, path: PurePosixPath, name: str) -> None:
        while path != PurePosixPath():
            key = _key(str(path))
            known = self._spelling.setdefault(key, str(path))
            if known != str(path) or key in self._files:
                raise InvalidModelException(f"Archive entry {name!r} collides with {known!r}.")
            path = path.parent

    def _checked(self, name: str) -> PurePosixPath:
        try:
            size = len(name.encode())
        except UnicodeEncodeError as exc:
            raise InvalidModelException(f"Archive entry {name!r} has a name that is not UTF-8.") from exc
        if size > self._max_name_bytes:
            raise InvalidModelException(
                f"Archive entry {name[:80]!r}... has a name of more than {self._max_name_bytes} bytes."
            )
        if "\0" in name or "\\" in name:
            raise InvalidModelException(f"Archive entry {name!r} has a backslash or a NUL in its name.")
        path = PurePosixPath(name)
        if path.is_absolute() or _DRIVE.match(name):
            raise InvalidModelException(f"Archive entry {name!r} has an absolute name.")
        if ".." in path.parts:
            raise InvalidModelException(f"Archive entry {name!r} leaves the model folder.")
        if any(len(part.encode()) > _MAX_PART_BYTES for part in path.parts):
            raise InvalidModelException(
                f"Archive entry {name[:80]!r}... has a part of more than {_MAX_PART_BYTES} bytes."
            )
        return path


def _key(path: str) -> str:
    # What a file system that folds case and normalises Unicode (macOS, Windows) would take for the same name.
    return unicodedata.normalize("NFC", path.casefold())
