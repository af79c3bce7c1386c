"""Ids of requests. Runs in the front process."""

import os


def new_request_id() -> str:
    """Return a random UUID (version 4): what uuid.uuid4 gives, without the object that costs most of it."""
    digits = os.urandom(16).hex()
    # Version 4, variant 1 (RFC 9562, section 5.4).
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
