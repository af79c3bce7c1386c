"""From the url of a model to its folder on disk, and the end of that folder. Runs in the front process."""

import asyncio
import hashlib
import logging
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import model_archiver.errors
from mms.server.errors import InternalServerException, InvalidModelException, ModelNotFoundException
from model_archiver.archive import extract, find_model_folder, read_manifest
from model_archiver.manifest import Manifest

logger = logging.getLogger(__name__)

SAFE_FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
ARCHIVE_SUFFIXES = (".mar", ".model")


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model's files, ready to be served."""

    folder: Path
    manifest: Manifest
    owned: bool
    """Whether the folder was unpacked for this model alone, and goes with it."""

    def clean(self) -> None:
        """Delete the folder, unless it is the user's own."""
        if self.owned:
            shutil.rmtree(self.folder, ignore_errors=True)


class ModelStore:
    """Finds, fetches and unpacks models. Each registration gets a folder of its own below `<temp>/models`."""

    def __init__(self, store: Path | None, temp: Path, *, allow_private_urls: bool) -> None:
        self._store = store
        self._temp = temp
        self._allow_private_urls = allow_private_urls
        self._folders: Path | None = None

    async def fetch(self, url: str, *, trusted: bool = False) -> StoredModel:
        """Return the files of the model that `url` names: http(s), or a file or folder of the model store.

        `trusted` urls come from the operator (configuration, command line), not from a client.
        Raises ModelNotFoundException, DownloadModelException, InvalidModelException; InternalServerException when the
        disk fails. Texts as in MMS (archive/ModelArchive.java downloadModel).
        """
        try:
            if is_download(url):
                return await self._fetch_remote(url, trusted=trusted)
            path = await asyncio.to_thread(self._find, url)
            if path.is_dir():
                return await asyncio.to_thread(_served_in_place, path)
            return await self._unpack_in_thread(path, None)
        except model_archiver.errors.InvalidModelException as exc:
            raise InvalidModelException(str(exc)) from exc
        except OSError as exc:
            logger.error("Failed to save model %s", url, exc_info=exc)
            raise InternalServerException(f"Failed to save model: {url}") from exc

    def entries(self) -> Iterator[str]:
        """Yield the urls of everything in the store that `load_models=ALL` means, sorted."""
        if self._store is None:
            logger.warning("Model store is not configured.")
            return
        if not self._store.is_dir():
            logger.warning("Model store path is not found: %s", self._store)
            return
        for path in sorted(self._store.iterdir()):
            if not path.name.startswith(".") and (path.is_dir() or path.name.endswith(ARCHIVE_SUFFIXES)):
                yield path.name

    def close(self) -> None:
        """Delete what is left of the unpacked models."""
        if self._folders is None:
            return
        for folder in self._folders.iterdir():
            logger.warning("Folder of a model was left over: %s", folder)
        shutil.rmtree(self._folders, ignore_errors=True)
        self._folders = None

    def _find(self, url: str) -> Path:
        if ".." in url:
            raise ModelNotFoundException(f"Relative path is not allowed in url: {url}")
        if self._store is None:
            raise ModelNotFoundException("Model store has not been configured.")
        path = self._store / url.lstrip("/")
        if not _exists(path):
            raise ModelNotFoundException(f"Model not found in model store: {url}")
        if path.resolve() == self._store.resolve():
            # "." or "/": the store itself, with every model in it, is none. The words are MMS's.
            raise InvalidModelException("Model name is not defined.")
        return path

    async def _fetch_remote(self, url: str, *, trusted: bool) -> StoredModel:
        # Late: it needs aiohttp, which no model of the store waits for.
        from mms.server.download import download

        folders = await asyncio.to_thread(self._own_folder)
        with tempfile.TemporaryDirectory(dir=folders, prefix=".download-") as scratch:
            # The name of the file is what messages about a damaged archive call it.
            name = re.sub(r"[^\w.-]+", "_", url.partition("?")[0].rpartition("/")[2])[:100].lstrip(".") or "archive"
            got = await download(url, Path(scratch) / name, allow_private=trusted or self._allow_private_urls)
            return await self._unpack_in_thread(got.path, got.etag)

    async def _unpack_in_thread(self, archive: Path, etag: str | None) -> StoredModel:
        unpacking = asyncio.ensure_future(asyncio.to_thread(self._unpack, archive, etag))
        try:
            return await asyncio.shield(unpacking)
        except asyncio.CancelledError:
            # The thread goes on regardless; what it makes belongs to nobody any more.
            await asyncio.wait((unpacking,))
            if unpacking.exception() is None:
                await asyncio.to_thread(unpacking.result().clean)
            raise

    def _unpack(self, archive: Path, etag: str | None) -> StoredModel:
        # MMS names the folder after the ETag, else after a hash; ours is new for every registration, so that no two
        # models share files, and an ETag that is no plain name is not used at all.
        name = etag if etag and SAFE_FOLDER_NAME.fullmatch(etag) else _sha1(archive)
        folder = self._new_folder(name)
        try:
            extract(archive, folder)
            return StoredModel(folder, read_manifest(folder), owned=True)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _new_folder(self, name: str) -> Path:
        folders = self._own_folder()
        number = 1
        while True:
            folder = folders / (name if number == 1 else f"{name}-{number}")
            try:
                folder.mkdir(mode=0o700)
            except FileExistsError:
                number += 1
            else:
                return folder

    def _own_folder(self) -> Path:
        """Make `<temp>/models`, or a folder with a random name beside it where that one is somebody else's."""
        if self._folders is None:
            try:
                (self._temp / "models").mkdir(mode=0o700)
                self._folders = self._temp / "models"
            except FileExistsError:
                self._folders = Path(tempfile.mkdtemp(prefix="models-", dir=self._temp))
        return self._folders


def is_download(url: str) -> bool:
    """Whether `url` names something to fetch rather than something in the model store."""
    return url[:8].lower().startswith(("http://", "https://"))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        # A name that is too long, a file used as a folder, a NUL.
        return False


def _served_in_place(path: Path) -> StoredModel:
    folder = find_model_folder(path)
    return StoredModel(folder, read_manifest(folder), owned=False)


def _sha1(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.sha1(usedforsecurity=False)).hexdigest()
