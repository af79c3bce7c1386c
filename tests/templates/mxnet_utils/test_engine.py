"""In which thread MXNet computes; it tells on stderr when it begins."""

import subprocess
import sys
from pathlib import Path

import pytest

TEMPLATES = Path(__file__).parents[3] / "model_service_template"
COMPUTE = """
from mms.worker import mxnet_compat
mxnet_compat.install()
import mxnet
from mxnet_utils.engine import compute_in_this_thread
compute_in_this_thread()
print(mxnet.nd.ones((2, 2)).asnumpy().sum())
"""


@pytest.mark.parametrize(
    ("asked", "used"), [({}, "NaiveEngine"), ({"MXNET_ENGINE_TYPE": "ThreadedEngine"}, "ThreadedEngine")]
)
def test_mxnet_computes_in_the_calling_thread_unless_told_otherwise(asked: dict[str, str], used: str) -> None:
    environment = {"PYTHONPATH": f"{TEMPLATES}:{TEMPLATES.parent}", **asked}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", COMPUTE], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "4.0\n"
    assert f"engine: {used}" in done.stderr
