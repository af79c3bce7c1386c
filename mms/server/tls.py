"""The TLS context of the listeners, from a key store, PEM files or a certificate made on the spot. Front process."""

import datetime
import ipaddress
import logging
import secrets
import socket
import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from mms.server.config import Config
from mms.server.errors import ConfigurationError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

logger = logging.getLogger(__name__)

# Of TLS 1.2, what has forward secrecy and authenticated encryption; the first that a client knows is taken.
_CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
_JAVA_KEYSTORES = (b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce")
_SELF_SIGNED_DAYS = 365


def server_context(config: Config) -> ssl.SSLContext | None:
    """Return the context for the addresses that begin with https, or None if none does.

    A `keystore` wins over `private_key_file` and `certificate_file`; with neither, the certificate is self-signed.
    Raises ConfigurationError naming the file that cannot be used.
    """
    if not (config.inference_address.is_tls or config.management_address.is_tls):
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    if config.keystore is not None:
        _load_keystore(context, config.keystore, config.keystore_pass)
    elif config.private_key_file is not None and config.certificate_file is not None:
        _load_pem(context, config.private_key_file, config.certificate_file)
    else:
        _load_self_signed(context)
    return context


def _load_pem(context: ssl.SSLContext, key: Path, certificate: Path) -> None:
    for name, file in (("private_key_file", key), ("certificate_file", certificate)):
        if not file.is_file():
            raise ConfigurationError(f"{name} not found: {file}")

    def no_password() -> str:
        # Without this OpenSSL asks on the terminal.
        raise ConfigurationError(f"private_key_file has a password, which is not supported: {key}")

    try:
        context.load_cert_chain(certificate, key, password=no_password)
    except (ssl.SSLError, OSError) as exc:
        raise ConfigurationError(
            f"private_key_file {key} and certificate_file {certificate} cannot be used: {exc}"
        ) from exc


def _load_keystore(context: ssl.SSLContext, file: Path, password: str) -> None:
    try:
        data = file.read_bytes()
    except OSError as exc:
        raise ConfigurationError(f"keystore cannot be read: {file} ({exc.strerror})") from exc
    if data.startswith(_JAVA_KEYSTORES):
        raise ConfigurationError(
            f"keystore {file} has Java's own format; convert it: keytool -importkeystore -srckeystore {file} "
            f"-destkeystore {file.with_suffix('.p12')} -deststoretype PKCS12"
        )
    _require_cryptography("keystore")
    from cryptography.hazmat.primitives.serialization import pkcs12

    try:
        store = pkcs12.load_pkcs12(data, password.encode())
    except ValueError as exc:
        raise ConfigurationError(f"keystore {file} is not PKCS12, or keystore_pass is wrong.") from exc
    if store.key is None or store.cert is None:
        raise ConfigurationError(f"No key entry found in keystore {file}.")
    chain = [store.cert.certificate, *(extra.certificate for extra in store.additional_certs)]
    _load_key_and_chain(context, store.key, chain)


def _load_self_signed(context: ssl.SSLContext) -> None:
    """Make a key and a certificate for this host that nobody vouches for, as MMS meant to."""
    _require_cryptography("https without keystore or private_key_file")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    host = socket.gethostname()
    names: list[x509.GeneralName] = [x509.DNSName("localhost")]
    if host.isascii() and host != "localhost":
        names.append(x509.DNSName(host))
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1")]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))  # clocks of clients differ
        .not_valid_after(now + datetime.timedelta(days=_SELF_SIGNED_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    logger.warning(
        "TLS uses a self-signed certificate, made for this run and valid for %d days; clients cannot verify it. "
        "Set keystore, or private_key_file and certificate_file.",
        _SELF_SIGNED_DAYS,
    )
    _load_key_and_chain(context, key, [certificate])


def _load_key_and_chain(context: ssl.SSLContext, key: "PrivateKeyTypes", chain: "list[x509.Certificate]") -> None:
    """Hand over a key that is in memory.

    The ssl module reads files only, so the key is on disk for a moment, encrypted.
    """
    from cryptography.hazmat.primitives import serialization

    password = secrets.token_bytes(32).hex().encode()
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password),
    )
    pem += b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in chain)
    with tempfile.NamedTemporaryFile(prefix="mms-", suffix=".pem") as file:  # mode 0600
        file.write(pem)
        file.flush()
        try:
            context.load_cert_chain(file.name, password=password)
        except ssl.SSLError as exc:
            raise ConfigurationError(f"The private key and its certificate cannot be used: {exc}") from exc


def _require_cryptography(what: str) -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError as exc:
        raise ConfigurationError(f"{what} needs the package cryptography: pip install cryptography") from exc
