"""Java's property files, read as java.util.Properties reads them. Runs in the front process, and in the launcher.

Source of the rules: the documentation of java.util.Properties.load.
"""

import re
from collections.abc import Iterator

_BLANKS = " \t\f"
_LINE_END = re.compile(r"\r\n|\r|\n")
_ENTRY = re.compile(r"((?:\\.|[^\\=: \t\f])*)[ \t\f]*[=:]?[ \t\f]*(.*)", re.DOTALL)
_ESCAPE = re.compile(r"\\(u.{0,4}|.)", re.DOTALL)
_HEXADECIMAL = re.compile(r"u[0-9a-fA-F]{4}")
_SURROGATES = re.compile(r"[\ud800-\udbff][\udc00-\udfff]")
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


def parse_properties(raw: bytes) -> dict[str, str]:
    """Return the texts of a file by their keys; the last of equal keys wins. Raises ValueError for a bad \\u escape."""
    texts = {}
    # Latin-1: whatever is not in there is written as \uXXXX.
    for line in _logical_lines(raw.decode("latin-1")):
        entry = _ENTRY.fullmatch(line)
        assert entry is not None
        texts[_unescaped(entry[1])] = _unescaped(entry[2])
    return texts


def _logical_lines(text: str) -> Iterator[str]:
    """Yield the lines that hold a key, each put together with those that continue it."""
    begun = ""
    is_continued = False
    for line in _LINE_END.split(text):
        line = line.lstrip(_BLANKS)
        if not is_continued and line[:1] in ("", "#", "!"):
            continue
        # A backslash before another one is no end of a line.
        is_continued = (len(line) - len(line.rstrip("\\"))) % 2 == 1
        begun += line[:-1] if is_continued else line
        if not is_continued:
            if begun:
                yield begun
            begun = ""
    if begun:
        yield begun


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    # Java's characters are UTF-16: two escapes may stand for one character.
    return _SURROGATES.sub(_joined, _ESCAPE.sub(_character, text))


def _character(escape: re.Match[str]) -> str:
    code = escape[1]
    if code[0] != "u":
        return _CONTROLS.get(code, code)
    if not _HEXADECIMAL.fullmatch(code):
        raise ValueError(f"malformed escape: \\{code}")
    return chr(int(code[1:], 16))


def _joined(pair: re.Match[str]) -> str:
    return pair[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le")
