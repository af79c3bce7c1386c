"""A decorator that prints how long a function took. Worker process."""

import time
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def timeit(func: Callable[P, R]) -> Callable[P, R]:
    """Print the elapsed and the CPU time of every call of `func`."""

    @wraps(func)
    def time_and_log(*args: P.args, **kwargs: P.kwargs) -> R:
        start, start_cpu = time.perf_counter(), time.process_time()
        result = func(*args, **kwargs)
        elapsed, cpu = time.perf_counter() - start, time.process_time() - start_cpu
        print(f"func: {func.__name__!r} took a total of {elapsed:2.4f} sec to run and {cpu:2.4f} sec of CPU time")
        return result

    return time_and_log
