"""Fetching archives: what is followed, what is refused, and with which words."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from mms.server.download import Download, download, redacted
from mms.server.errors import DownloadModelException, ModelNotFoundException

CONTENT = bytes(range(256)) * 10_000
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Site:
    """A web server of one page."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.asked: list[str] = []
        self.headers: dict[str, str] = {}
        self.page: Handler = self.archive

    async def archive(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=CONTENT, headers=self.headers)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(request.path_qs)
        return await self.page(request)  # type: ignore[arg-type]  # BaseRequest is all that the pages use


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    sock = socket.create_server(("127.0.0.1", 0))
    one = Site(sock.getsockname()[1])
    runner = web.ServerRunner(web.Server(one.answer))
    await runner.setup()
    await web.SockSite(runner, sock).start()
    yield one
    await runner.cleanup()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def redirect(location: str, status: int = 302) -> Handler:
    async def page(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"Location": location})

    return page


async def test_download_writes_what_it_is_given(site: Site, target: Path) -> None:
    assert await download(f"{site.url}/m.mar?v=1", target, allow_private=True) == Download(target, None)
    assert target.read_bytes() == CONTENT
    assert site.asked == ["/m.mar?v=1"]


@pytest.mark.parametrize(
    ("sent", "etag"), [('"abc-1"', "abc-1"), ('W/"abc"', "abc"), ("bare", "bare"), ('""', None), ('"../x"', "../x")]
)
async def test_etag_is_given_without_its_quotes(site: Site, target: Path, sent: str, etag: str | None) -> None:
    site.headers = {"ETag": sent}
    assert (await download(site.url, target, allow_private=True)).etag == etag


async def test_encoded_content_is_kept_as_it_is(site: Site, target: Path) -> None:
    site.headers = {"Content-Encoding": "gzip"}
    await download(site.url, target, allow_private=True)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("status", [201, 204, 304, 400, 403, 404, 500, 503])
async def test_other_status_than_200_is_named(site: Site, target: Path, status: int) -> None:
    async def page(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status)

    site.page = page
    url = f"{site.url}/m.mar"
    with pytest.raises(DownloadModelException) as refused:
        await download(url, target, allow_private=True)
    assert str(refused.value) == f"Failed to download model from: {url}, code: {status}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed(site: Site, target: Path, status: int) -> None:
    async def page(request: web.Request) -> web.StreamResponse:
        if request.path == "/old/m.mar":
            return web.Response(status=status, headers={"Location": "../new/m.mar?x=y"})
        return await site.archive(request)

    site.page = page
    await download(f"{site.url}/old/m.mar", target, allow_private=True)
    assert target.read_bytes() == CONTENT
    assert site.asked == ["/old/m.mar", "/new/m.mar?x=y"]


async def test_redirects_without_end_are_given_up(site: Site, target: Path) -> None:
    site.page = redirect("/again")
    with pytest.raises(DownloadModelException, match="more than 5 redirects"):
        await download(site.url, target, allow_private=True)
    assert len(site.asked) == 6


@pytest.mark.parametrize(
    "location", ["https://127.0.0.1:1/m.mar", "file:///etc/passwd", "ftp://127.0.0.1/x", "http://"]
)
async def test_redirect_to_another_protocol_is_refused(site: Site, target: Path, location: str) -> None:
    site.page = redirect(location)
    with pytest.raises(DownloadModelException, match="Failed to download model from: "):
        await download(site.url, target, allow_private=True)
    assert not target.exists()


async def test_redirect_without_a_location_is_no_archive(site: Site, target: Path) -> None:
    async def page(request: web.Request) -> web.StreamResponse:
        return web.Response(status=302)

    site.page = page
    with pytest.raises(DownloadModelException, match="code: 302"):
        await download(site.url, target, allow_private=True)


async def test_connection_that_breaks_off_is_a_failed_download(site: Site, target: Path) -> None:
    async def page(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"half of it")
        assert request.transport is not None
        request.transport.abort()
        return response

    site.page = page
    with pytest.raises(DownloadModelException, match=f"Failed to download model from: {site.url}$"):
        await download(site.url, target, allow_private=True)


async def test_nobody_there_is_a_failed_download(target: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    url = f"http://127.0.0.1:{port}/m.mar"
    with pytest.raises(DownloadModelException) as refused:
        await download(url, target, allow_private=True)
    assert str(refused.value) == f"Failed to download model from: {url}"


async def test_https_to_a_plain_server_is_a_failed_download(site: Site, target: Path) -> None:
    with pytest.raises(DownloadModelException, match="Failed to download model from: https"):
        await download(site.url.replace("http", "https"), target, allow_private=True)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:99999/m.mar", "http://127.0.0.1:-1/m.mar", "http://127.0.0.1:port/m.mar", "http://[::1/m"]
)
async def test_url_with_an_impossible_port_or_host_is_not_found(target: Path, url: str) -> None:
    with pytest.raises(ModelNotFoundException) as refused:
        await download(url, target, allow_private=True)
    assert str(refused.value) == f"Invalid model url: {url}"


@pytest.mark.parametrize("url", ["http:///m.mar", "http:m.mar", "http://"])
async def test_url_without_a_host_is_a_failed_download(target: Path, url: str) -> None:
    with pytest.raises(DownloadModelException, match="Failed to download model from: "):
        await download(url, target, allow_private=True)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.9.9.9",
        "localhost",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.5.5",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "[::1]",
        "[::]",
        "[fe80::1]",
        "[fd00::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:10.0.0.1]",
        "[2002:7f00:1::]",
    ],
)
async def test_private_hosts_are_refused(target: Path, host: str) -> None:
    with pytest.raises(DownloadModelException, match="private address .*; set allow_private_urls=true"):
        await download(f"http://{host}:9/m.mar", target, allow_private=False)


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001", "0177.0.0.1"])
async def test_address_in_another_spelling_is_no_way_round(site: Site, target: Path, host: str) -> None:
    with pytest.raises(DownloadModelException):
        await download(site.url.replace("127.0.0.1", host), target, allow_private=False)
    assert site.asked == []


async def test_redirect_to_a_private_host_is_refused_when_private_hosts_are(site: Site, target: Path) -> None:
    with pytest.raises(DownloadModelException, match="private address"):
        await download(site.url, target, allow_private=False)
    assert site.asked == []


def test_log_never_shows_who_asked_or_with_which_signature() -> None:
    assert redacted("https://me:secret@host/m.mar?X-Signature=abc") == "https://host/m.mar"
    assert redacted("http://[") == "<unreadable URL>"
