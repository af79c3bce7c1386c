"""What a server that starts leaves out, and that it is there for whoever asks."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
START = """
import sys
from mms.server.postponed import postpone_aiohttp_client
postpone_aiohttp_client()
import mms.server.model_server
"""


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", START + code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout.strip()


def test_server_starts_without_the_client_and_applications_of_aiohttp() -> None:
    assert run("print([m for m in sys.modules if m in ('aiohttp.client', 'aiohttp.web_app', 'aiohttp.web')])") == "[]"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import aiohttp; print(aiohttp.ClientSession is aiohttp.client.ClientSession)", "True"),
        (
            "from aiohttp import ClientSession, web; print(ClientSession.__name__, web.__name__)",
            "ClientSession aiohttp.web",
        ),
        ("from aiohttp import *; print(ClientTimeout.__name__)", "ClientTimeout"),
        ("import aiohttp; print(aiohttp.connector.TCPConnector is aiohttp.TCPConnector)", "True"),
        ("import aiohttp; print(hasattr(aiohttp, 'nothing'), hasattr(aiohttp, 'client'))", "False True"),
        ("import aiohttp as a; early = a.__version__; a.ClientSession; print(early == a.__version__)", "True"),
    ],
)
def test_whoever_asks_for_the_rest_gets_it(code: str, expected: str) -> None:
    assert run(code) == expected


def test_package_that_is_there_already_is_left_alone() -> None:
    postpone = "from mms.server.postponed import postpone_aiohttp_client; postpone_aiohttp_client()"
    code = f"import aiohttp; {postpone}; print('client' in vars(aiohttp))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
