"""How a process keeps memory for the next large body. Both processes import it; standard library only."""

KEPT_BYTES = 8 << 20


def keep_freed_memory() -> None:
    """Have glibc keep freed memory, up to twice KEPT_BYTES, where it would give it back to the system at once.

    With every request it would take the memory of a body from the system otherwise, and give it back, page by page. The
    size from which it does so grows with the largest block that was ever freed (mallopt(3), M_MMAP_THRESHOLD); this one
    is never touched, so it costs nothing. Another C library takes no notice.
    """
    bytes(KEPT_BYTES)
