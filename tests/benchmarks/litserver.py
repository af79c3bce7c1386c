"""LitServe around one handler of ours. Run as `python litserver.py PORT HANDLER.py` where LitServe is installed."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import litserve
from fastapi import Body, Response

Raw = Annotated[bytes, Body(media_type="application/octet-stream")]


class Handler(litserve.LitAPI):
    """Hands raw bodies to the handler, and its answers out."""

    def setup(self, device: str) -> None:
        """Load the handler, in the worker."""
        call_this_process("litserve-worker")
        spec = importlib.util.spec_from_file_location("handler", sys.argv[2])
        if spec is None or spec.loader is None:
            raise ValueError(f"{sys.argv[2]} is no Python file.")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self._handle: Callable[[Any, Any], Any] = module.handle

    def decode_request(self, request: Raw) -> bytes:
        """Take the body as it came."""
        return request

    def predict(self, body: bytes) -> Any:
        """Ask the handler as a model server does."""
        return self._handle([{"body": body}], None)[0]

    def encode_response(self, output: Any) -> Response:
        """Send what it returned as it is."""
        return Response(output)


def call_this_process(name: str) -> None:
    """Name it, so that the harness can tell LitServe's processes apart. At most 15 characters."""
    Path("/proc/self/comm").write_text(name)


def name_the_front(app: Any) -> Any:
    """Be a middleware that adds nothing: it is made in the process that speaks HTTP."""
    call_this_process("litserve-front")
    return app


if __name__ == "__main__":
    server = litserve.LitServer(
        Handler(api_path="/predictions/bench"),
        accelerator="cpu",
        healthcheck_path="/ping",
        middlewares=[name_the_front],
    )
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)
