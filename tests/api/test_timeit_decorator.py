import re

import pytest

from mms.utils.timeit_decorator import timeit


def test_a_call_is_timed_and_answered(capsys: pytest.CaptureFixture[str]) -> None:
    @timeit
    def add(a: int, *, b: int) -> int:
        """Sum."""
        return a + b

    assert add(1, b=2) == 3
    assert (add.__name__, add.__doc__) == ("add", "Sum.")
    seconds = r"\d+\.\d{4} sec"
    assert re.fullmatch(
        f"func: 'add' took a total of {seconds} to run and {seconds} of CPU time\n", capsys.readouterr().out
    )
