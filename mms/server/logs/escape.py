"""Keeps text from the network and from models from forging or hiding lines of a log. Front process."""

_LINE_BREAKERS = (*range(0x20), 0x7F, *range(0x80, 0xA0), 0x2028, 0x2029)
_ONE_LINE = {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in _LINE_BREAKERS if code != 0x09}
_MANY_LINES = _ONE_LINE | {0x0A: "\n\t"}


def one_line(text: str) -> str:
    """Return `text` with its control characters spelled out, except tabs."""
    return text if text.isprintable() else text.translate(_ONE_LINE)


def many_lines(text: str) -> str:
    """Return `text` with control characters spelled out. A further line begins with a tab: it is no event."""
    return text if text.isprintable() else text.translate(_MANY_LINES)
