"""The program that is the server: what it tells its launcher. test_cli.py starts it."""

import os

import pytest

from mms.server.arguments import FAILED, READY
from mms.server.main import report


@pytest.mark.parametrize("what", [READY, FAILED])
def test_report_reaches_the_launcher_and_ends(what: bytes) -> None:
    reader, writer = os.pipe()
    report(writer, what)
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read() == what


def test_report_to_a_launcher_that_is_gone_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    report(writer, READY)
