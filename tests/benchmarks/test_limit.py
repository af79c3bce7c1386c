"""The limit of a row with a real model."""

import sys
from pathlib import Path

import pytest

from .limit import in_process
from .models import CHECKOUT
from .peers import BareAiohttp, Ours
from .rows import Bench, Options
from .wrk import LoadError

OPTIONS = Options(rounds=1, seconds=1, warm_up_s=0)


def test_each_of_ours_has_a_limit_of_its_own(tmp_path: Path) -> None:
    python = Path(sys.executable)
    peers = [Ours(python, CHECKOUT, name=name) for name in ("ours", "ours-plain", "before")]
    assert list(in_process(Bench([*peers, BareAiohttp(python)], tmp_path, OPTIONS), workers=1)) == [
        "loop",
        "loop-plain",
    ]


@pytest.mark.slow
def test_the_limit_of_two_workers_is_two_loops_at_once(tmp_path: Path) -> None:
    bench = Bench([Ours(Path(sys.executable), CHECKOUT)], tmp_path, OPTIONS)
    values = in_process(bench, workers=2)["loop"]()
    # Microseconds of CPU time a second, of the two processes together.
    assert 0 < values["requests_per_s"] * values["worker_cpu_us"] < 2.2e6


@pytest.mark.slow
def test_a_loop_that_fails_says_why(tmp_path: Path) -> None:
    bench = Bench([Ours(Path(sys.executable), CHECKOUT)], tmp_path, OPTIONS)
    (bench.models.squeezenet_folder() / "signature.json").unlink()
    with pytest.raises(LoadError, match=r"signature\.json"):
        in_process(bench, workers=1)["loop"]()
