"""Fetches an archive over http or https into a file. Runs in the front process."""

import asyncio
import contextlib
import ipaddress
import logging
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver
from yarl import URL

from mms.server.errors import DownloadModelException, ModelNotFoundException

logger = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20
MAX_REDIRECTS = 5
CONNECT_TIMEOUT_S = 30.0
IDLE_TIMEOUT_S = 60.0
"""A server that sends nothing for so long is given up; a large archive over a slow line is not."""
PROGRESS_INTERVAL_S = 5.0


class _PrivateAddressError(OSError):
    """The host of a URL is an address that only this machine or its network should reach."""


@dataclass(frozen=True, slots=True)
class Download:
    """A finished download."""

    path: Path
    etag: str | None
    """Without its quotes, as the server sent it: not to be trusted as a file name."""


async def download(url: str, path: Path, *, allow_private: bool) -> Download:
    """Write what `url` gives to the file `path`, following redirects within the same protocol.

    With `allow_private` false, hosts that resolve to loopback, private, link-local or otherwise internal addresses are
    refused, at every redirect anew: whoever may register a model must not reach the services behind this server.
    The address that was checked is the address that is connected to.

    Raises DownloadModelException, or ModelNotFoundException for a URL that cannot be one; texts as in MMS
    (archive/ModelArchive.java download).
    """
    target = _parse(url)
    connector = aiohttp.TCPConnector(resolver=DefaultResolver() if allow_private else _PublicResolver())
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=IDLE_TIMEOUT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session:
        try:
            for _ in range(MAX_REDIRECTS + 1):
                if not allow_private:
                    _refuse_private_literal(target)
                async with session.get(target, allow_redirects=False) as response:
                    location = response.headers.get("Location")
                    if response.status in (301, 302, 303, 307, 308) and location:
                        target = _redirected(target, location, url)
                        continue
                    if response.status != 200:
                        raise DownloadModelException(f"Failed to download model from: {url}, code: {response.status}")
                    await _save(response, path, url)
                    return Download(path, _etag(response))
            raise DownloadModelException(f"Failed to download model from: {url}: more than {MAX_REDIRECTS} redirects")
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            logger.warning("Download of %s failed: %s", redacted(url), exc)
            raise DownloadModelException(f"Failed to download model from: {url}{_hint(exc)}") from exc


def redacted(url: str) -> str:
    """Return a URL fit for a log: without user, password and query, which may hold a signature."""
    with contextlib.suppress(ValueError):
        return str(URL(url).with_user(None).with_query(None))
    return "<unreadable URL>"


def _parse(url: str) -> URL:
    try:
        target = URL(url)
        port = target.explicit_port
    except ValueError:
        raise ModelNotFoundException(f"Invalid model url: {url}") from None
    if port is not None and not 0 <= port <= 65535:
        raise ModelNotFoundException(f"Invalid model url: {url}")
    if not target.host:
        raise DownloadModelException(f"Failed to download model from: {url}")
    return target


def _redirected(target: URL, location: str, url: str) -> URL:
    try:
        new = target.join(URL(location))
    except ValueError:
        new = URL()
    if new.scheme != target.scheme or not new.host:
        # As Java does: neither into another protocol nor from https down to http.
        raise DownloadModelException(f"Failed to download model from: {url}: it redirects to another protocol")
    return new


def _etag(response: "aiohttp.ClientResponse") -> str | None:
    etag = response.headers.get("ETag", "").removeprefix("W/").strip('"')
    return etag or None


async def _save(response: "aiohttp.ClientResponse", path: Path, url: str) -> None:
    loop = asyncio.get_running_loop()
    total = response.content_length
    done = 0
    told = loop.time()
    file: BinaryIO = await asyncio.to_thread(path.open, "wb")
    with file:
        async for chunk in response.content.iter_chunked(CHUNK_BYTES):
            await asyncio.to_thread(file.write, chunk)
            done += len(chunk)
            if loop.time() - told >= PROGRESS_INTERVAL_S:
                told = loop.time()
                of = f" of {total / 1e6:.0f}" if total else ""
                logger.info("Downloading %s: %.0f%s MB", redacted(url), done / 1e6, of)


def _refuse_private_literal(target: URL) -> None:
    with contextlib.suppress(ValueError):
        _refuse_private(ipaddress.ip_address(target.host or ""), target.host or "")


def _refuse_private(address: ipaddress.IPv4Address | ipaddress.IPv6Address, host: str) -> None:
    mapped = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None)
    if not address.is_global or address.is_multicast or (mapped is not None and not mapped.is_global):
        raise _PrivateAddressError(
            f": {host} is a private address ({address}); set allow_private_urls=true to download from there"
        )


def _hint(exc: BaseException) -> str:
    # aiohttp wraps what the resolver raises.
    return next((str(error) for error in (exc, exc.__cause__) if isinstance(error, _PrivateAddressError)), "")


class _PublicResolver(AbstractResolver):
    """Resolves names, and refuses a name of which any address is private."""

    def __init__(self) -> None:
        self._inner = DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        results = await self._inner.resolve(host, port, family)
        for result in results:
            _refuse_private(ipaddress.ip_address(result["host"].partition("%")[0]), host)
        return results

    async def close(self) -> None:
        await self._inner.close()
