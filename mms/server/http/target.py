"""The request target: path segments and query parameters, read as MMS reads them. Runs in the front process."""

import re
from dataclasses import dataclass
from urllib.parse import unquote

from mms.server.errors import BadRequestException, ResourceNotFoundException

BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class Target:
    """What a client asked for."""

    segments: tuple[str, ...]
    """Of the decoded path, without the empty ones at its end; `//` is one empty segment."""
    query: tuple[tuple[str, str], ...]
    """Decoded, in order, repeats and all."""

    def parameter(self, name: str) -> str | None:
        """Return the first value of a query parameter, or None."""
        return next((value for key, value in self.query if key == name), None)


def parse_target(raw: str) -> Target:
    """Split a request target. Percent escapes are undone before the path is split, as in MMS.

    Raises BadRequestException for a broken escape, ResourceNotFoundException for a target that is no path.
    """
    if not raw.startswith("/"):
        raise ResourceNotFoundException
    path, _, query = raw.partition("#")[0].partition("?")
    segments = _decode(path).split("/")[1:]
    while len(segments) > 1 and not segments[-1]:
        segments.pop()
    if path == "/":
        segments = []
    return Target(tuple(segments), tuple(parse_query(query)) if query else ())


def parse_query(text: str) -> list[tuple[str, str]]:
    """Read `a=1&b=2`: `;` separates as well, `+` is a blank, a name alone has an empty value."""
    pairs = []
    for item in text.replace(";", "&").split("&"):
        name, _, value = item.partition("=")
        if not name:
            # MMS: `=v` is the name `v` without a value (Netty's QueryStringDecoder).
            name, value = value, ""
        if item:
            pairs.append((_decode(name.replace("+", " ")), _decode(value.replace("+", " "))))
    return pairs


def _decode(text: str) -> str:
    if "%" not in text:
        return text
    if bad := BAD_ESCAPE.search(text):
        raise BadRequestException(f"Invalid percent escape at index {bad.start()} of {text!r}.")
    return unquote(text, errors="replace")
