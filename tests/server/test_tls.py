"""TLS contexts from every source of a key, tried with real handshakes in memory."""

import datetime
import logging
import ssl
import tempfile
from pathlib import Path
from typing import TypeAlias

import pytest

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
from mms.server.errors import ConfigurationError
from mms.server.tls import server_context

Key: TypeAlias = "rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey"
HTTPS = Address("https", "127.0.0.1", 8443)


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def certify(key: Key) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )


def write_pem(folder: Path, key: Key, style: PrivateFormat, password: bytes | None = None) -> Config:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, style, encryption))
    (folder / "cert.pem").write_bytes(certify(key).public_bytes(Encoding.PEM))
    return Config(inference_address=HTTPS, private_key_file=folder / "key.pem", certificate_file=folder / "cert.pem")


def write_keystore(folder: Path, key: Key, password: bytes) -> Path:
    data = pkcs12.serialize_key_and_certificates(b"mms", key, certify(key), None, BestAvailableEncryption(password))
    (folder / "store.p12").write_bytes(data)
    return folder / "store.p12"


def handshake(server: ssl.SSLContext | None, *, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> tuple[str, str]:
    """Return protocol and cipher that a client limited to `version` gets."""
    assert server is not None
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    client.maximum_version = version
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)]
    for _ in range(10):
        for end in list(ends):
            try:
                end.do_handshake()
                ends.remove(end)
            except ssl.SSLWantReadError:
                continue
            else:
                cipher = end.cipher()
                protocol = end.version()
        if not ends:
            assert cipher is not None
            assert protocol is not None
            return protocol, cipher[0]
    raise AssertionError("no end to the handshake")


def test_without_https_there_is_no_context() -> None:
    assert server_context(Config()) is None


@pytest.mark.parametrize("style", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_rsa_key_in_both_pem_formats(tmp_path: Path, rsa_key: rsa.RSAPrivateKey, style: PrivateFormat) -> None:
    context = server_context(write_pem(tmp_path, rsa_key, style))
    assert handshake(context)[0] == "TLSv1.3"
    assert handshake(context, version=ssl.TLSVersion.TLSv1_2) == ("TLSv1.2", "ECDHE-RSA-AES128-GCM-SHA256")


@pytest.mark.parametrize("style", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_ec_key_in_both_pem_formats(tmp_path: Path, style: PrivateFormat) -> None:
    context = server_context(write_pem(tmp_path, ec.generate_private_key(ec.SECP256R1()), style))
    assert handshake(context, version=ssl.TLSVersion.TLSv1_2)[1] == "ECDHE-ECDSA-AES128-GCM-SHA256"


def test_keystore_wins_over_pem(tmp_path: Path, rsa_key: rsa.RSAPrivateKey) -> None:
    config = Config(
        management_address=HTTPS,
        keystore=write_keystore(tmp_path, rsa_key, b"changeit"),
        private_key_file=tmp_path / "nosuch",
        certificate_file=tmp_path / "nosuch",
    )
    assert handshake(server_context(config))[0] == "TLSv1.3"


def test_nothing_of_the_key_stays_on_disk(
    tmp_path: Path, rsa_key: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = write_keystore(tmp_path, rsa_key, b"changeit")
    temp = tmp_path / "temp"
    temp.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temp))
    server_context(Config(inference_address=HTTPS, keystore=store))
    assert list(temp.iterdir()) == []


def test_self_signed_certificate_verifies_against_itself_and_warns(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        context = server_context(Config(inference_address=HTTPS))
    assert handshake(context)[0] == "TLSv1.3"
    assert "self-signed" in caplog.text


def fails(config: Config) -> str:
    with pytest.raises(ConfigurationError) as error:
        server_context(config)
    return str(error.value)


def test_wrong_keystore_password_is_an_error(tmp_path: Path, rsa_key: rsa.RSAPrivateKey) -> None:
    store = write_keystore(tmp_path, rsa_key, b"other")
    assert fails(Config(inference_address=HTTPS, keystore=store)) == (
        f"keystore {store} is not PKCS12, or keystore_pass is wrong."
    )


def test_missing_files_are_named(tmp_path: Path) -> None:
    nosuch = tmp_path / "nosuch"
    assert fails(Config(inference_address=HTTPS, keystore=nosuch)) == (
        f"keystore cannot be read: {nosuch} (No such file or directory)"
    )
    config = Config(inference_address=HTTPS, private_key_file=nosuch, certificate_file=nosuch)
    assert fails(config) == f"private_key_file not found: {nosuch}"


def test_java_keystore_gets_the_keytool_line(tmp_path: Path) -> None:
    store = tmp_path / "store.jks"
    store.write_bytes(b"\xfe\xed\xfe\xed\x00\x00\x00\x02")
    message = fails(Config(inference_address=HTTPS, keystore=store))
    assert f"keytool -importkeystore -srckeystore {store} -destkeystore {tmp_path / 'store.p12'}" in message


def test_keystore_without_a_key_is_an_error(tmp_path: Path, rsa_key: rsa.RSAPrivateKey) -> None:
    store = tmp_path / "store.p12"
    certificate = certify(rsa_key)
    data = pkcs12.serialize_key_and_certificates(b"x", None, None, [certificate], BestAvailableEncryption(b"changeit"))
    store.write_bytes(data)
    assert fails(Config(inference_address=HTTPS, keystore=store)) == f"No key entry found in keystore {store}."


def test_key_with_a_password_is_an_error_and_asks_nobody(tmp_path: Path, rsa_key: rsa.RSAPrivateKey) -> None:
    config = write_pem(tmp_path, rsa_key, PrivateFormat.PKCS8, b"secret")
    assert fails(config).startswith("private_key_file has a password")


def test_key_of_another_certificate_is_an_error(tmp_path: Path, rsa_key: rsa.RSAPrivateKey) -> None:
    config = write_pem(tmp_path, rsa_key, PrivateFormat.PKCS8)
    (tmp_path / "cert.pem").write_bytes(certify(ec.generate_private_key(ec.SECP256R1())).public_bytes(Encoding.PEM))
    assert "cannot be used" in fails(config)
