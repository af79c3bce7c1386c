"""Ids of requests: random UUIDs, made from the system's randomness in bulk. Runs in the front process."""

import os
from collections.abc import Iterator

IDS_AT_ONCE = 256


def _ids() -> Iterator[str]:
    while True:
        digits = os.urandom(16 * IDS_AT_ONCE).hex()
        for start in range(0, len(digits), 32):
            one = digits[start : start + 32]
            # Version 4, variant 1 (RFC 9562, section 5.4).
            variant = "89ab"[int(one[16], 16) & 3]
            yield f"{one[:8]}-{one[8:12]}-4{one[13:16]}-{variant}{one[17:20]}-{one[20:]}"


new_request_id = _ids().__next__
"""Return a new id: uuid.uuid4 does the same at three times the cost."""
