"""The limit of a row with a real model: our template in processes that only loop (see loop.py), without a server."""

import contextlib
import os
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from .figures import Values
from .models import CHECKOUT, OUR_TEMPLATE, photo
from .peers import Ours
from .rows import Bench
from .wrk import LoadError

LOOPS: Mapping[str, str] = {"ours": "loop", "ours-plain": "loop-plain"}
"""What the limit of whom is called."""
WORKER_ENVIRONMENT: Mapping[str, str] = {"OMP_NUM_THREADS": "1", "MXNET_USE_OPERATOR_TUNING": "0"}
"""What our server gives its workers."""


def in_process(bench: Bench, *, workers: int) -> Mapping[str, Callable[[], Values]]:
    """Name the limits of those that take part, with what measures each."""
    return {
        LOOPS[name]: partial(run_loops, bench, peer, workers)
        for name, peer in bench.peers.items()
        if isinstance(peer, Ours) and name in LOOPS
    }


def run_loops(bench: Bench, peer: Ours, workers: int) -> Values:
    """Run as many loops as there would be workers, all at once, under the interpreter of the peer."""
    body = bench.folder / "photo.jpg"
    body.write_bytes(photo())
    folder = bench.models.squeezenet_folder()
    program = [str(peer.python), "-m", "tests.benchmarks.loop"]
    arguments = [str(folder), OUR_TEMPLATE, str(body), str(bench.options.seconds)]
    environment = {**peer.environment(), "PYTHONPATH": f"{CHECKOUT}{os.pathsep}{folder}", **WORKER_ENVIRONMENT}
    with contextlib.ExitStack() as stack:
        loops = [
            stack.enter_context(
                subprocess.Popen(
                    [*program, *arguments],
                    env=environment,
                    cwd=folder,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(workers)
        ]
        _begin_together(loops)
        printed = [loop.communicate() for loop in loops]
    if any(loop.returncode for loop in loops):
        raise LoadError(f"the loop without a server failed: {printed[0][1].strip()[-500:]}")
    rates, cpu_us = zip(*([float(number) for number in out.split()] for out, _ in printed), strict=True)
    return {"requests_per_s": sum(rates), "worker_cpu_us": statistics.mean(cpu_us)}


def _begin_together(loops: Sequence[subprocess.Popen[str]]) -> None:
    """Wait until each has loaded its model, and only then let all begin."""
    for loop in loops:
        if loop.stdout is not None:
            loop.stdout.readline()
    for loop in loops:
        if loop.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # its exit code will tell
                print("begin", file=loop.stdin, flush=True)
