"""The host process of a preloaded model: loads it once, then forks a worker each time the front end asks for one.

What the model registered with `atexit` runs when the host ends, not once more in every worker.
"""

import contextlib
import gc
import os
import socket
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import NoReturn

from mms.protocol.messages import WorkerSpec
from mms.service import Service
from mms.worker.__main__ import leave_with_the_front_end, load_first, prepare, receive, work
from mms.worker.host import Host, flush
from mms.worker.loader import load_service


def main(control: int, channel: int) -> None:
    """Run a host to its end, or a worker that it became.

    The sockets with these descriptors are for the spec and its reply (like a worker's own), and for what
    mms.protocol.fork is about.
    """
    prepare()
    connection = socket.socket(fileno=control)
    with _leaving_with_the_front_end():
        service = load_first(connection, receive(connection), _load_without_gpu)
    if service is None:
        return
    _warn_of_threads()
    gc.collect()
    # Counting references still copies pages in the workers; the garbage collector's visits shall not.
    gc.freeze()
    worker = Host(connection, socket.socket(fileno=channel)).run()
    if worker is not None:
        _work_to_the_end(worker, service)


@contextlib.contextmanager
def _leaving_with_the_front_end() -> Iterator[None]:
    """End this process with the front end while the block runs, however long a load takes; leave no thread behind."""
    ended, end = os.pipe()
    thread = leave_with_the_front_end(until=ended)
    try:
        yield
    finally:
        os.write(end, b"x")
        thread.join()
        os.close(ended)
        os.close(end)


def _load_without_gpu(spec: WorkerSpec) -> Service:
    # MMS: the preloading process belongs to no worker, hence to no GPU. What CUDA sets up does not survive a fork.
    return load_service(spec._replace(gpu_id=None))


def _warn_of_threads() -> None:
    names = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if names:
        # The front end takes stderr for warnings.
        print(
            f"preload_model: the handler started threads while it loaded ({', '.join(names)}). They do not exist in "
            "the workers, and a lock that one of them holds stays locked there. Start them at the first request.",
            file=sys.stderr,
        )


def _work_to_the_end(connection: socket.socket, service: Service) -> NoReturn:
    """Work as any worker does, then leave without tidying up: what the host loaded is the host's to tidy up."""

    def take_over(spec: WorkerSpec) -> Service:
        service.context.system_properties["gpu_id"] = spec.gpu_id
        return service

    code = 1
    try:
        leave_with_the_front_end()
        work(connection, take_over)
        code = 0
    except SystemExit as exc:
        code = _exit_code(exc.code)
    except BaseException:
        # Stands for the interpreter's own last resort, which os._exit does without.
        traceback.print_exc()
    finally:
        flush()
        os._exit(code)


def _exit_code(value: object) -> int:
    """Return what sys.exit(value) means, as the interpreter takes it."""
    if value is None:
        return 0
    if isinstance(value, int):
        return value & 0xFF
    print(value, file=sys.stderr)
    return 1
