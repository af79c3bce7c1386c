"""An endpoint plugin: `/readiness`, for load balancers and for whoever wants to take a server out of service gently."""

import threading

from mms.plugin import Context, ModelServerEndpoint, Request, Response


class Readiness(ModelServerEndpoint):
    """`/readiness`: whether clients should be sent here.

    GET asks, for all models or for those named by `model`; PUT with `draining` as its body has it say no from then
    on, while requests that come all the same are still answered; DELETE ends that.
    """

    url_pattern = "readiness"
    description = "Whether every model, or those that `model` names, can take requests."

    def __init__(self) -> None:
        # Methods that are not async run in threads, several at once.
        self._is_draining = threading.Event()

    def do_get(self, request: Request, response: Response, context: Context) -> None:
        """Answer 200 or 503, and say why."""
        wanted = request.parameters.get("model") or tuple(context.models)
        waiting = sorted(name for name in wanted if not _is_ready(name, context))
        is_ready = not waiting and not self._is_draining.is_set()
        if not is_ready:
            response.set_status(503)
            response.set_header("Retry-After", "5")
        response.write_json({"ready": is_ready, "draining": self._is_draining.is_set(), "waitingFor": waiting})

    def do_put(self, request: Request, response: Response, context: Context) -> None:
        """Take the server out of service."""
        if request.body.strip() != b"draining":
            response.set_status(400)
            response.write_json({"error": "The body must be the word draining."})
            return
        self._is_draining.set()
        response.set_status(204)

    def do_delete(self, request: Request, response: Response, context: Context) -> None:
        """Put the server back into service."""
        self._is_draining.clear()
        response.set_status(204)


def _is_ready(name: str, context: Context) -> bool:
    model = context.models.get(name)
    return model is not None and any(worker.is_running for worker in model.workers)
