"""Memory that is kept for the next large body."""

import platform
import subprocess
import sys

import pytest

# Faults of pages in a hundred bodies of 1 MiB: 256 each, where every one of them is new memory.
BODIES = """
import resource, sys
from mms.protocol.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    body = b"x" * (1 << 20)
    del body
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have rules of their own")
def test_a_body_takes_the_memory_of_the_one_before() -> None:
    done = subprocess.run([sys.executable, "-c", BODIES, "kept"], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1000
