"""The worker process: load one model, then answer batches until the front end closes the socket.

Started as `python -m mms.worker FD`, where FD is its end of a socketpair. Standard input is held open by the front end:
at its end the front end is gone, and so is this process, even in the middle of a batch.
"""

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence

from mms.protocol.frames import (
    Buffer,
    FrameReader,
    decode_requests,
    decode_spec,
    encode,
    encode_load_reply,
    encode_reply,
)
from mms.protocol.messages import LoadReply
from mms.service import Service
from mms.worker import mxnet_compat
from mms.worker.loader import load_failure, load_service

SMALL_FRAME_BYTES = 1 << 16
"""Up to here one `send` of a joined copy is cheaper than handing over each part."""


def main(descriptor: int) -> None:
    """Run a worker to its end, on the connected socket with this file descriptor."""
    connection = socket.socket(fileno=descriptor)
    # A terminal's Ctrl-C goes to every process of its group; the front end decides when a worker ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _leave_with_the_front_end()
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.INFO)
    mxnet_compat.install()
    # Broken pipe: the front end is gone or has given this worker up, and there is nobody left to tell.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        serve(connection)


def serve(connection: socket.socket) -> None:
    """Answer the first frame with a LoadReply and every later one with a PredictReply, until the socket ends."""
    reader = FrameReader()
    service: Service | None = None
    while count := connection.recv_into(reader.get_buffer()):
        for parts in reader.received(count):
            if service is not None:
                send(connection, encode_reply(service.predict(decode_requests(parts))))
                continue
            try:
                service = load_service(decode_spec(parts))
            except Exception as exc:
                # The model is user code: whatever it raised is the front end's answer to whoever asked for the model.
                send(connection, encode_load_reply(load_failure(exc)))
                return
            send(connection, encode_load_reply(LoadReply(200, "loaded")))


def send(connection: socket.socket, parts: Sequence[Buffer]) -> None:
    """Write one frame, whole."""
    head = encode(parts)
    if sum(map(len, parts)) <= SMALL_FRAME_BYTES:
        connection.sendall(b"".join([head, *parts]))
        return
    connection.sendall(head)
    for part in parts:
        connection.sendall(part)


def _leave_with_the_front_end() -> None:
    def watch() -> None:
        # Reads the descriptor, not sys.stdin, whose lock a handler may hold.
        while os.read(0, 1024):
            pass
        os._exit(0)

    threading.Thread(target=watch, name="front-end-watch", daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]))
