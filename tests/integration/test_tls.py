"""TLS on real listeners, with certificates that the tests make: every source of a key, and every kind of client."""

import asyncio
import contextlib
import datetime
import io
import ipaddress
import logging
import ssl
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import aiohttp
import pytest
from fakes import DEADLINE_S
from real import FREE_PORT, RunningServer, running_server

pytest.importorskip("cryptography")

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import NameOID

from mms.server.config import Address, Config
from mms.server.config.values import StartupModel
from mms.server.errors import ConfigurationError

Key: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
Serve = Callable[..., Awaitable[RunningServer]]
Client = aiohttp.ClientSession

FREE_TLS_PORT = Address("https", "127.0.0.1", 0)
BOTH_TLS: dict[str, object] = {"inference_address": FREE_TLS_PORT, "management_address": FREE_TLS_PORT}
_UNUSED = dict.fromkeys(
    (
        *("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
        *("crl_sign", "encipher_only", "decipher_only"),
    ),
    False,
)
# Python 3.13 asks for it.
USED_BY_CA = x509.KeyUsage(digital_signature=False, key_cert_sign=True, **_UNUSED)
USED_BY_SERVER = x509.KeyUsage(digital_signature=True, key_cert_sign=False, **_UNUSED)

SLURP = "def handle(data, context):\n    return data and [bytes(request['body']) for request in data]\n"


def certify(
    name: str, key: Key, *, issuer: x509.Certificate | None = None, issuer_key: Key | None = None, is_ca: bool = False
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = issuer_key or key
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(USED_BY_CA if is_ca else USED_BY_SERVER, critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )


@dataclass(frozen=True)
class Chain:
    """A server's key and certificate, one certificate between, and the root that clients trust."""

    root: x509.Certificate
    between: x509.Certificate
    leaf: x509.Certificate
    key: Key

    def pem_files(self, folder: Path, style: PrivateFormat) -> dict[str, object]:
        """Write key and certificates in PEM; return the settings that name them."""
        key, certificate = folder / "key.pem", folder / "certificate.pem"
        key.write_bytes(self.key.private_bytes(Encoding.PEM, style, NoEncryption()))
        certificate.write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in (self.leaf, self.between)))
        return {"private_key_file": key, "certificate_file": certificate}

    def keystore(self, folder: Path) -> dict[str, object]:
        """Write a PKCS12 key store; return the settings that name it."""
        store = folder / "store.p12"
        encryption = BestAvailableEncryption(b"changed it")
        store.write_bytes(pkcs12.serialize_key_and_certificates(b"x", self.key, self.leaf, [self.between], encryption))
        return {"keystore": store, "keystore_pass": "changed it"}

    def trusting(self) -> ssl.SSLContext:
        """Make the context of a client that trusts the root and checks everything."""
        return ssl.create_default_context(cadata=self.root.public_bytes(Encoding.PEM).decode())


def make_chain(key: Key) -> Chain:
    root_key, between_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = certify("root", root_key, is_ca=True)
    between = certify("between", between_key, issuer=root, issuer_key=root_key, is_ca=True)
    return Chain(root, between, certify("leaf", key, issuer=between, issuer_key=between_key), key)


@pytest.fixture(scope="module")
def rsa_chain() -> Chain:
    return make_chain(rsa.generate_private_key(65537, 2048))


@pytest.fixture(scope="module")
def ec_chain() -> Chain:
    return make_chain(ec.generate_private_key(ec.SECP256R1()))


@pytest.fixture(params=["rsa", "ec"])
def chain(request: pytest.FixtureRequest) -> Chain:
    made: Chain = request.getfixturevalue(f"{request.param}_chain")
    return made


def careless() -> ssl.SSLContext:
    """Make the context of a client that takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


async def ping(client: Client, address: str, context: ssl.SSLContext) -> str:
    async with client.get(f"{address}/ping", ssl=context) as answer:
        status: str = (await answer.json())["status"]
        return status


@pytest.mark.parametrize("style", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL], ids=["PKCS8", "PKCS1"])
async def test_pem_files_of_every_kind_are_served_with_their_chain(
    style: PrivateFormat, chain: Chain, server: Serve, client: Client, tmp_path: Path
) -> None:
    running = await server(**BOTH_TLS, **chain.pem_files(tmp_path, style))
    assert running.inference.startswith("https://127.0.0.1:")
    assert await ping(client, running.inference, chain.trusting()) == "Healthy"
    for address in (running.inference, running.management):
        async with client.options(f"{address}/", ssl=chain.trusting()) as answer:
            assert answer.status == 200


async def test_keystore_is_served_with_its_chain(chain: Chain, server: Serve, client: Client, tmp_path: Path) -> None:
    running = await server(**BOTH_TLS, **chain.keystore(tmp_path))
    assert await ping(client, running.inference, chain.trusting()) == "Healthy"


async def test_keystore_wins_over_files(
    rsa_chain: Chain, ec_chain: Chain, server: Serve, client: Client, tmp_path: Path
) -> None:
    settings = rsa_chain.keystore(tmp_path) | ec_chain.pem_files(tmp_path, PrivateFormat.PKCS8)
    running = await server(**BOTH_TLS, **settings)
    assert await ping(client, running.inference, rsa_chain.trusting()) == "Healthy"
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await ping(client, running.inference, ec_chain.trusting())


async def test_without_files_the_certificate_is_self_signed_for_this_host(
    server: Serve, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    running = await server(**BOTH_TLS)
    assert await ping(client, running.inference, careless()) == "Healthy"
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await ping(client, running.inference, ssl.create_default_context())
    certificate = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port_of(running.inference)))
    assert await ping(client, running.inference, ssl.create_default_context(cadata=certificate)) == "Healthy"
    assert any("self-signed" in message for message in caplog.messages)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_current_versions_of_tls_are_spoken(
    version: ssl.TLSVersion, chain: Chain, server: Serve, tmp_path: Path
) -> None:
    running = await server(**BOTH_TLS, **chain.pem_files(tmp_path, PrivateFormat.PKCS8))
    context = chain.trusting()
    context.minimum_version = context.maximum_version = version
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(running.inference), ssl=context)
    assert writer.get_extra_info("ssl_object").version() == version.name.replace("_", ".")
    writer.write(b"GET /ping HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(DEADLINE_S):
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    writer.close()
    await writer.wait_closed()


async def test_older_versions_of_tls_are_refused(
    rsa_chain: Chain, server: Serve, client: Client, tmp_path: Path
) -> None:
    running = await server(**BOTH_TLS, **rsa_chain.pem_files(tmp_path, PrivateFormat.PKCS8))
    context = careless()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    # asyncio hangs up without the alert that says why.
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        await asyncio.open_connection("127.0.0.1", port_of(running.inference), ssl=context)
    # The same client with the next version is served.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert await ping(client, running.inference, context) == "Healthy"


@pytest.mark.parametrize(
    "opening",
    [b"GET /ping HTTP/1.1\r\nHost: here\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\0" * 1000, b""],
    ids=["plain HTTP", "half a hello", "zeros", "nothing"],
)
async def test_strangers_do_not_disturb_the_server(
    opening: bytes, rsa_chain: Chain, server: Serve, client: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    running = await server(**BOTH_TLS, **rsa_chain.pem_files(tmp_path, PrivateFormat.PKCS8))
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(running.inference))
    writer.write(opening)
    writer.write_eof()
    async with asyncio.timeout(DEADLINE_S):
        with contextlib.suppress(ConnectionResetError):
            assert b"HTTP" not in await reader.read()
    writer.close()
    with contextlib.suppress(ConnectionResetError):
        await writer.wait_closed()
    assert await ping(client, running.inference, rsa_chain.trusting()) == "Healthy"
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_connection_without_handshake_does_not_hold_up_the_end(
    rsa_chain: Chain, config: Callable[..., Config], tmp_path: Path
) -> None:
    settings = config(**BOTH_TLS, **rsa_chain.pem_files(tmp_path, PrivateFormat.PKCS8), shutdown_timeout=0.2)
    async with asyncio.timeout(DEADLINE_S):
        async with running_server(settings) as running:
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(running.inference))
        writer.write_eof()
        with contextlib.suppress(ConnectionResetError):
            await reader.read()
    writer.close()
    with contextlib.suppress(ConnectionResetError):
        await writer.wait_closed()


@pytest.mark.parametrize("size", [1, 70_000, 6_000_000])
async def test_bodies_of_every_size_travel_in_both_directions(
    size: int, rsa_chain: Chain, server: Serve, client: Client, tmp_path: Path, mar: Callable[..., Path]
) -> None:
    mar(SLURP, name="slurp")
    tls = rsa_chain.pem_files(tmp_path, PrivateFormat.PKCS8)
    running = await server(**BOTH_TLS, **tls, load_models=(StartupModel("slurp.mar"),))
    context = rsa_chain.trusting()
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    for _ in range(2):
        data = io.BytesIO(body)
        async with client.post(f"{running.inference}/predictions/slurp", data=data, ssl=context) as answer:
            assert answer.status == 200
            assert await answer.read() == body


async def test_many_requests_at_once_are_kept_apart(
    ec_chain: Chain, server: Serve, client: Client, tmp_path: Path, mar: Callable[..., Path]
) -> None:
    mar(SLURP, name="slurp")
    tls = ec_chain.pem_files(tmp_path, PrivateFormat.PKCS8)
    running = await server(**BOTH_TLS, **tls, load_models=(StartupModel("slurp.mar"),))
    context = ec_chain.trusting()

    async def ask(number: int) -> bool:
        body = b"%d " % number * 10_000
        async with client.post(f"{running.inference}/predictions/slurp", data=body, ssl=context) as answer:
            return await answer.read() == body

    assert await asyncio.gather(*(ask(number) for number in range(30))) == [True] * 30


async def test_one_api_may_be_plain_beside_the_other(
    rsa_chain: Chain, server: Serve, client: Client, tmp_path: Path
) -> None:
    tls = rsa_chain.keystore(tmp_path)
    running = await server(inference_address=FREE_TLS_PORT, management_address=FREE_PORT, **tls)
    assert await ping(client, running.inference, rsa_chain.trusting()) == "Healthy"
    assert running.management.startswith("http://")
    async with client.get(f"{running.management}/models") as answer:
        assert await answer.json() == {"models": []}


async def test_one_api_may_be_on_a_unix_socket_beside_the_other(
    rsa_chain: Chain, server: Serve, client: Client, tmp_path: Path
) -> None:
    path = tmp_path / "management.sock"
    tls = rsa_chain.keystore(tmp_path)
    running = await server(inference_address=FREE_TLS_PORT, management_address=Address("unix", path=str(path)), **tls)
    assert await ping(client, running.inference, rsa_chain.trusting()) == "Healthy"
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as local,
        local.get("http://here/models") as answer,
    ):
        assert await answer.json() == {"models": []}


async def test_both_apis_may_share_one_tls_port(
    rsa_chain: Chain, server: Serve, client: Client, tmp_path: Path, unused_tcp_port: int
) -> None:
    address = Address("https", "127.0.0.1", unused_tcp_port)
    running = await server(
        inference_address=address, management_address=address, **rsa_chain.pem_files(tmp_path, PrivateFormat.PKCS8)
    )
    assert await ping(client, running.inference, rsa_chain.trusting()) == "Healthy"
    async with client.get(f"https://127.0.0.1:{unused_tcp_port}/models", ssl=rsa_chain.trusting()) as answer:
        assert answer.status == 200


async def test_models_are_managed_over_tls(
    rsa_chain: Chain, server: Serve, client: Client, tmp_path: Path, mar: Callable[..., Path]
) -> None:
    mar("echo")
    running = await server(**BOTH_TLS, **rsa_chain.keystore(tmp_path))
    context = rsa_chain.trusting()
    async with client.post(f"{running.management}/models?url=echo.mar&initial_workers=1", ssl=context) as answer:
        assert answer.status == 200
    async with client.post(f"{running.inference}/predictions/echo", data=b"x", ssl=context) as answer:
        assert (await answer.json(content_type=None))["inputs"] == {"body": ["bytearray", "x"]}
    async with client.delete(f"{running.management}/models/echo", ssl=context) as answer:
        assert answer.status == 200


async def test_key_store_that_is_not_there_ends_the_start(server: Serve, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="keystore cannot be read"):
        await server(**BOTH_TLS, keystore=tmp_path / "nowhere.p12")
