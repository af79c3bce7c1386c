"""The addresses that the server listens on. Runs in the front process."""

import re
from dataclasses import dataclass
from typing import Literal

from mms.server.errors import ConfigurationError

Scheme = Literal["http", "https", "unix"]

_UNIX = re.compile(r"unix:(/.*)", re.IGNORECASE)
_TCP = re.compile(r"(https?)://(\[[0-9a-fA-F:.%]+\]|[^/:\[\]\s]+)(?::(\d+))?/?", re.IGNORECASE)
_LOOPBACK_HOSTS = ("localhost", "::1")


@dataclass(frozen=True, slots=True)
class Address:
    """One listening address: TCP (`host`, `port`) or a UNIX socket (`path`)."""

    scheme: Scheme
    host: str = ""
    port: int = 0
    """0 lets the system choose a free port."""
    path: str = ""

    @property
    def is_tls(self) -> bool:
        """Whether the listener speaks TLS."""
        return self.scheme == "https"

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.scheme == "unix" or self.host in _LOOPBACK_HOSTS or self.host.startswith("127.")

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse_address(text: str, *, management: bool) -> Address:
    """Read `http[s]://host[:port]` or `unix:/path`.

    Without a port: 80 and 443, of the management API 8081 and 8444.
    Raises ConfigurationError with MMS's words. MMS: frontend/.../util/Connector.java; it refused ports from 32767 up.
    """
    binding = text.strip()
    if match := _UNIX.fullmatch(binding):
        return Address("unix", path=match[1])
    match = _TCP.fullmatch(binding)
    if match is None:
        raise ConfigurationError(f"Invalid binding address: {text}")
    scheme: Scheme = "https" if match[1].lower() == "https" else "http"
    if match[3] is not None:
        port = int(match[3])
    elif management:
        port = 8444 if scheme == "https" else 8081
    else:
        port = 443 if scheme == "https" else 80
    if port > 65535:
        raise ConfigurationError(f"Invalid port number: {text}")
    return Address(scheme, host=match[2].strip("[]"), port=port)
