"""How the text of a setting becomes a value. Runs in the front process.

Every parser takes the text, which is not empty, and the key, and raises ConfigurationError. Where MMS had a text for an
error, the message begins with it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mms.server.errors import ConfigurationError

Parser = Callable[[str, str], object]

_INTEGER = re.compile(r"[+-]?[0-9]{1,10}")
_NUMBER = re.compile(r"[0-9]+(\.[0-9]*)?|\.[0-9]+")
_INT_MAX = 2**31 - 1
_URL_USER_OR_QUERY = re.compile(r"(?<=://)[^/@]*@|\?.*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class StartupModel:
    """One item of `load_models`: where the model is and, if given, what to call it."""

    url: str
    name: str | None = None

    def __str__(self) -> str:
        """Return it as it is written in the configuration, without what may be secret in a URL."""
        url = _URL_USER_OR_QUERY.sub("", self.url) if "://" in self.url else self.url
        return url if self.name is None else f"{self.name}={url}"


StartupModels = Literal["ALL"] | tuple[StartupModel, ...]


def whole_number(*, minimum: int) -> Parser:
    """Make a parser for Java's `int`, not below `minimum`."""

    def parse(text: str, key: str) -> int:
        if not _INTEGER.fullmatch(text.strip()) or abs(int(text)) > _INT_MAX:
            raise ConfigurationError(f'For input string: "{text}" ({key} must be a whole number)')
        if (number := int(text)) < minimum:
            raise ConfigurationError(f"{key} must be at least {minimum}, not {number}.")
        return number

    return parse


def seconds(text: str, key: str) -> float:
    """Read a time in seconds; fractions are allowed."""
    if not _NUMBER.fullmatch(text.strip()):
        raise ConfigurationError(f'For input string: "{text}" ({key} must be a number of seconds)')
    return float(text)


def is_true(text: str) -> bool:
    """Read a boolean as Java does: `true` in any case, and everything else is false."""
    return text.strip().lower() == "true"


def boolean(text: str, key: str) -> bool:
    """Read `true` or `false`, in any case. Another text is false as in MMS; `load_config` warns about it."""
    return is_true(text)


def string(text: str, key: str) -> str:
    """Take the text as it is."""
    return text


def word(text: str, key: str) -> str:
    """Take the text without blanks around it."""
    return text.strip()


def path(text: str, key: str) -> Path:
    """Read a file or folder name."""
    return Path(text.strip())


def names(text: str, key: str) -> tuple[str, ...]:
    """Read a list separated by commas; empty items are skipped."""
    return tuple(item for part in text.split(",") if (item := part.strip()))


def pattern(text: str, key: str) -> re.Pattern[str]:
    """Compile a regular expression.

    MMS's are Java's; Python's differ in rare constructs only (`\\p{..}`, `\\Q..\\E`).
    """
    try:
        return re.compile(text.strip())
    except re.error as exc:
        raise ConfigurationError(f"{key} is not a regular expression: {text} ({exc})") from exc


def startup_models(text: str, key: str) -> StartupModels:
    """Read `ALL` (in any case) or a comma list of `[name=]url`.

    MMS also took `https://host/m.mar?a` for the name in `https://host/m.mar?a=b`; here a name has neither `/` nor `:`.
    """
    if text.strip().lower() == "all":
        return "ALL"
    models = []
    for item in names(text, key):
        name, separator, url = item.partition("=")
        if separator and not re.search("[/:]", name):
            models.append(StartupModel(url.strip(), name.strip() or None))
        else:
            models.append(StartupModel(item))
    return tuple(models)
