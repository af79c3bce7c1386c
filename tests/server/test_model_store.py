"""From url to folder: what is found, what is refused, and what is left behind."""

import asyncio
import os
import socket
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web
from real import make_model

from mms.server.errors import (
    DownloadModelException,
    InternalServerException,
    InvalidModelException,
    ModelNotFoundException,
)
from mms.server.model_store import ModelStore, is_download
from model_archiver.archive import write_manifest
from model_archiver.manifest import Manifest, Model

MakeMar = Callable[..., Path]


@pytest.fixture
def temp(tmp_path: Path) -> Path:
    path = tmp_path / "temp"
    path.mkdir()
    return path


@pytest.fixture
def models(store: Path, temp: Path) -> ModelStore:
    return ModelStore(store, temp, allow_private_urls=False)


def unpacked(temp: Path) -> list[str]:
    return sorted(path.name for path in temp.glob("models*/*"))


async def test_archive_of_the_store_is_unpacked(models: ModelStore, mar: MakeMar, temp: Path) -> None:
    mar("echo")
    model = await models.fetch("echo.mar")
    assert model.manifest.model.name == "echo"
    assert (model.folder / "echo.py").is_file()
    assert model.folder.parent == temp / "models"


async def test_folder_of_an_archive_is_for_the_server_only(models: ModelStore, mar: MakeMar, temp: Path) -> None:
    mar("echo")
    model = await models.fetch("echo.mar")
    assert [oct(path.stat().st_mode & 0o777) for path in (model.folder, model.folder.parent)] == ["0o700", "0o700"]


async def test_same_archive_twice_gives_two_folders(models: ModelStore, mar: MakeMar, temp: Path) -> None:
    mar("echo")
    first, second = await asyncio.gather(models.fetch("echo.mar"), models.fetch("echo.mar"))
    assert first.folder != second.folder
    first.clean()
    assert not first.folder.exists()
    assert (second.folder / "echo.py").is_file()


async def test_folder_of_the_store_is_used_in_place_and_kept(models: ModelStore, store: Path, temp: Path) -> None:
    folder = make_model(store / "echo", "echo")
    write_manifest(folder, Manifest(model=Model(name="my-echo", handler="echo.py")))
    model = await models.fetch("echo")
    assert (model.folder, model.manifest.model.name) == (folder, "my-echo")
    model.clean()
    assert folder.is_dir()
    assert unpacked(temp) == []


async def test_leading_slash_means_the_store(models: ModelStore, mar: MakeMar) -> None:
    mar("echo")
    assert (await models.fetch("/echo.mar")).manifest.model.name == "echo"


@pytest.mark.parametrize("url", ["../echo.mar", "x/../echo.mar", "a..mar", "/../../etc/passwd", ".."])
async def test_two_dots_are_refused(models: ModelStore, url: str) -> None:
    with pytest.raises(ModelNotFoundException) as refused:
        await models.fetch(url)
    assert str(refused.value) == f"Relative path is not allowed in url: {url}"


@pytest.mark.parametrize(
    "url", ["nothing.mar", "/etc/passwd", "file:///etc/passwd", "s3://bucket/m.mar", "a\0b", "x" * 300, "a.mar/b"]
)
async def test_what_the_store_does_not_hold_is_not_found(models: ModelStore, url: str) -> None:
    with pytest.raises(ModelNotFoundException) as refused:
        await models.fetch(url)
    assert str(refused.value) == f"Model not found in model store: {url}"


@pytest.mark.parametrize("url", ["", ".", "/", "./", "/."])
async def test_store_itself_is_no_model(models: ModelStore, url: str) -> None:
    with pytest.raises(InvalidModelException, match=r"^Model name is not defined\.$"):
        await models.fetch(url)


async def test_without_a_store_nothing_local_is_found(temp: Path) -> None:
    with pytest.raises(ModelNotFoundException, match=r"^Model store has not been configured\.$"):
        await ModelStore(None, temp, allow_private_urls=False).fetch("echo.mar")


async def test_link_inside_the_store_is_the_operators_choice(
    models: ModelStore, store: Path, mar: MakeMar, tmp_path: Path
) -> None:
    elsewhere = mar("echo").rename(tmp_path / "elsewhere.mar")
    (store / "link.mar").symlink_to(elsewhere)
    model = await models.fetch("link.mar")
    model.clean()
    assert elsewhere.is_file()


async def test_archive_that_is_none_is_refused_and_leaves_nothing(
    models: ModelStore, store: Path, mar: MakeMar, temp: Path
) -> None:
    whole = mar("echo").read_bytes()
    (store / "cut.mar").write_bytes(whole[: len(whole) // 2])
    with zipfile.ZipFile(store / "broken.mar", "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", "{")
    for url in ("cut.mar", "broken.mar"):
        with pytest.raises(InvalidModelException):
            await models.fetch(url)
    assert unpacked(temp) == []


async def test_archive_that_climbs_out_is_refused(models: ModelStore, store: Path, temp: Path) -> None:
    with zipfile.ZipFile(store / "slip.mar", "w") as archive:
        archive.writestr("../../slipped.txt", "x")
    with pytest.raises(InvalidModelException):
        await models.fetch("slip.mar")
    assert list(temp.rglob("slipped.txt")) == []
    assert unpacked(temp) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_unreadable_archive_is_a_fault_of_the_server(models: ModelStore, mar: MakeMar) -> None:
    mar("echo").chmod(0)
    with pytest.raises(InternalServerException, match=r"^Failed to save model: echo\.mar$"):
        await models.fetch("echo.mar")


async def test_temp_folder_that_is_gone_is_a_fault_of_the_server(models: ModelStore, mar: MakeMar, temp: Path) -> None:
    mar("echo")
    temp.rmdir()
    with pytest.raises(InternalServerException, match=r"^Failed to save model: echo\.mar$"):
        await models.fetch("echo.mar")


async def test_folder_of_somebody_else_is_not_used(models: ModelStore, mar: MakeMar, temp: Path) -> None:
    mar("echo")
    (temp / "models").mkdir()
    (temp / "models" / "not mine").touch()
    model = await models.fetch("echo.mar")
    assert model.folder.parent != temp / "models"
    models.close()
    assert [path.name for path in temp.rglob("*")] == ["models", "not mine"]


async def test_close_removes_what_is_left(models: ModelStore, mar: MakeMar, temp: Path) -> None:
    mar("echo")
    await models.fetch("echo.mar")
    models.close()
    assert list(temp.iterdir()) == []
    models.close()


async def test_entries_are_archives_and_folders_in_order(models: ModelStore, store: Path, mar: MakeMar) -> None:
    mar("echo", name="b")
    for name in ("a", ".hidden"):
        (store / name).mkdir()
    for name in ("c.model", ".x.mar", "notes.txt"):
        (store / name).touch()
    assert list(models.entries()) == ["a", "b.mar", "c.model"]


@pytest.mark.parametrize("store_name", [None, "gone"])
def test_entries_of_no_store_are_none(tmp_path: Path, temp: Path, store_name: str | None) -> None:
    store = None if store_name is None else tmp_path / store_name
    assert list(ModelStore(store, temp, allow_private_urls=False).entries()) == []


class Site:
    """Gives one archive, under the ETag that the test sets."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/some.mar?x=.."
        self.archive = b""
        self.etag = ""

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=self.archive, headers={"ETag": self.etag} if self.etag else {})


@pytest.fixture
async def site(mar: MakeMar) -> AsyncIterator[Site]:
    sock = socket.create_server(("127.0.0.1", 0))
    one = Site(sock.getsockname()[1])
    one.archive = mar("echo").read_bytes()
    runner = web.ServerRunner(web.Server(one.answer))
    await runner.setup()
    await web.SockSite(runner, sock).start()
    yield one
    await runner.cleanup()


async def test_private_url_of_a_client_is_refused(models: ModelStore, site: Site, temp: Path) -> None:
    with pytest.raises(DownloadModelException, match="allow_private_urls"):
        await models.fetch(site.url)
    assert list(temp.glob("models/*")) == []


async def test_private_url_of_the_operator_is_trusted(models: ModelStore, site: Site) -> None:
    assert (await models.fetch(site.url, trusted=True)).manifest.model.name == "echo"


async def test_private_url_is_fetched_where_that_is_allowed(store: Path, temp: Path, site: Site) -> None:
    models = ModelStore(store, temp, allow_private_urls=True)
    model = await models.fetch(site.url)
    assert (model.folder / "echo.py").is_file()
    assert unpacked(temp) == [model.folder.name], "the download itself is gone"


async def test_reused_etag_never_gives_the_files_of_another_model(models: ModelStore, site: Site, mar: MakeMar) -> None:
    site.etag = '"v1"'
    first = await models.fetch(site.url, trusted=True)
    site.archive = mar("slow").read_bytes()
    second = await models.fetch(site.url, trusted=True)
    assert (first.folder.name, second.folder.name) == ("v1", "v1-2")
    assert [model.manifest.model.name for model in (first, second)] == ["echo", "slow"]


@pytest.mark.parametrize("etag", ['"../../out"', '"a/b"', '""', '"."', '"x y"', '"' + "x" * 500 + '"', '".hidden"'])
async def test_etag_that_is_no_plain_name_names_no_folder(
    models: ModelStore, site: Site, temp: Path, etag: str
) -> None:
    site.etag = etag
    model = await models.fetch(site.url, trusted=True)
    assert model.folder.parent == temp / "models"
    assert len(model.folder.name) == 40


async def test_cancelled_fetch_leaves_nothing(models: ModelStore, mar: MakeMar, temp: Path) -> None:
    mar("echo")
    fetching = asyncio.create_task(models.fetch("echo.mar"))
    while not (temp / "models").exists():
        await asyncio.sleep(0)
    fetching.cancel()
    await asyncio.gather(fetching, return_exceptions=True)
    assert unpacked(temp) == []


@pytest.mark.parametrize("url", ["http://x/m", "https://x/m", "HTTP://x", "hTTps://x", "http://"])
def test_http_is_recognised_in_any_case(url: str) -> None:
    assert is_download(url)


@pytest.mark.parametrize(
    "url", ["m.mar", "http:/x", "https:x", "httpd.mar", "https.mar", "s3://bucket/m.mar", "file:///m.mar", "/m", ""]
)
def test_what_is_not_http_is_looked_up_in_the_store(url: str) -> None:
    assert not is_download(url)
