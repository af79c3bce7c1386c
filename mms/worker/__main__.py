"""The worker process: load one model, then answer batches until the front end closes the socket.

Started as `python -m mms.worker FD`, where FD is its end of a socketpair. Standard input is held open by the front end:
at its end the front end is gone, and so is this process, even in the middle of a batch.
"""

import contextlib
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from mms.protocol.coding import (
    decode_requests,
    decode_spec,
    encode_load_reply,
    encode_reply,
)
from mms.protocol.frames import (
    SOCKET_BUFFER_BYTES,
    Buffer,
    FrameReader,
    pack,
)
from mms.protocol.memory import keep_freed_memory
from mms.protocol.messages import LoadReply, WorkerSpec
from mms.service import Service
from mms.worker import mxnet_compat
from mms.worker.loader import load_failure, load_service

Load = Callable[[WorkerSpec], Service]

GATHER_S = 0.0005
"""How long an answer may wait for the next one, when requests lie ready."""
MAX_BUFFERS = 1024
"""Of one `sendmsg`: IOV_MAX of Linux and macOS."""


def main(descriptor: int) -> None:
    """Run a worker to its end, on the connected socket with this file descriptor."""
    prepare()
    leave_with_the_front_end()
    work(socket.socket(fileno=descriptor), load_service)


def prepare() -> None:
    """Set up what every process that loads a model needs."""
    # A terminal's Ctrl-C goes to every process of its group; the front end decides when a worker ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # To stdout, as in MMS: there it is INFO in the log, while stderr is WARN.
    logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)
    mxnet_compat.install()
    keep_freed_memory()


def work(connection: socket.socket, load: Load) -> None:
    """Answer the first frame with a LoadReply and every later one with a PredictReply, until the socket ends."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
    # Broken pipe: the front end is gone or has given this worker up, and there is nobody left to tell.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        frames = receive(connection)
        service = load_first(connection, frames, load)
        if service is None:
            return
        serve(connection, frames, service)


def serve(connection: socket.socket, frames: Iterator[list[Buffer] | None], service: Service) -> None:
    """Answer batch after batch. Small answers to what is there already leave together, unless that takes too long."""
    unsent: list[Buffer] = []
    since = 0.0
    for parts in frames:
        if parts is not None:
            if not unsent:
                since = time.monotonic()
            reply = encode_reply(service.predict(decode_requests(parts)))
            unsent += pack(reply)
            # A bytearray is the handler's own memory, which it may use again for the next batch.
            is_due = bytearray in map(type, reply) or time.monotonic() - since > GATHER_S
        if unsent and (parts is None or is_due):
            send_buffers(connection, unsent)
            unsent = []


def load_first(connection: socket.socket, frames: Iterator[list[Buffer] | None], load: Load) -> Service | None:
    """Load the model of the first frame and answer it; None if that failed or nothing came."""
    for parts in frames:
        if parts is None:
            continue
        try:
            service = load(decode_spec(parts))
        except Exception as exc:
            # The model is user code: whatever it raised is the front end's answer to whoever asked for the model.
            send(connection, encode_load_reply(load_failure(exc)))
            return None
        send(connection, encode_load_reply(LoadReply(200, "loaded")))
        return service
    return None


def receive(connection: socket.socket) -> Iterator[list[Buffer] | None]:
    """Yield frame after frame, until the socket ends; None each time when none is there any more."""
    reader = FrameReader()
    # Linux wakes who sleeps in `recv` of a unix socket also when the other side has read what we sent; it knows better
    # what a `poll` waits for. Without it, every reply would wake this process for nothing.
    watched = select.poll()
    watched.register(connection, select.POLLIN)
    while watched.poll() and (count := connection.recv_into(reader.get_buffer())):
        yield from reader.received(count)
        yield None


def send(connection: socket.socket, parts: Sequence[Buffer]) -> None:
    """Write one frame, whole."""
    send_buffers(connection, pack(parts))


def send_buffers(connection: socket.socket, buffers: Sequence[Buffer]) -> None:
    """Write what `frames.pack` made, of one frame or of several."""
    if len(buffers) == 1:
        connection.sendall(buffers[0])
        return
    unsent = [memoryview(buffer) for buffer in buffers if buffer]
    while unsent:
        sent = connection.sendmsg(unsent[:MAX_BUFFERS])
        while unsent and sent >= len(unsent[0]):
            sent -= len(unsent.pop(0))
        if sent:
            unsent[0] = unsent[0][sent:]


def leave_with_the_front_end(until: int | None = None) -> threading.Thread:
    """Start the thread that ends this process when the front end is gone; it ends itself when `until` can be read."""

    def watch() -> None:
        watched = select.poll()
        for descriptor in (0, until):
            if descriptor is not None:
                watched.register(descriptor, select.POLLIN)
        while until not in [ready for ready, _ in watched.poll()]:
            # Reads the descriptor, not sys.stdin, whose lock a handler may hold.
            if not os.read(0, 1024):
                os._exit(0)

    thread = threading.Thread(target=watch, name="front-end-watch", daemon=True)
    thread.start()
    return thread


if __name__ == "__main__":
    main(int(sys.argv[1]))
