"""The endpoint plugins `sagemaker-ping` and `execution-parameters`. Run in the front process; docs/sagemaker.md.

MMS: plugins/endpoints/.../Ping.java and ExecutionParameters.java.
"""

from pathlib import Path

from mms.plugin import Context, ModelServerEndpoint, Request, Response

BYTES_PER_MB = 1 << 20


class Ping(ModelServerEndpoint):
    """GET /ping: 200 only once the container can serve, where MMS's own /ping is always 200."""

    url_pattern = "ping"
    description = "Whether the container can serve; for SageMaker's health checks."

    def __init__(self) -> None:
        self._was_ready = False

    def do_get(self, request: Request, response: Response, context: Context) -> None:
        """Answer 200 or 503.

        With one model: 503 until the first worker runs; never again after that, since SageMaker would replace the
        whole container where a restart of the worker will do. With many: 503 without a handler for them.
        """
        if context.config.get("sagemaker_multi_model") == "true":
            if not _has_handler(context.config.get("default_service_handler")):
                _unavailable(response, "Service file unavailable", "Service file unavailable")
                return
        elif not self._was_ready:
            workers = [worker for model in context.models.values() for worker in model.workers]
            if not any(worker.is_running for worker in workers):
                _unavailable(response, "Model loading...", "Models are not loaded")
                return
            self._was_ready = True
        response.write_json({"Status": "Healthy"})


class ExecutionParameters(ModelServerEndpoint):
    """GET /execution-parameters: how SageMaker batch transform should call."""

    url_pattern = "execution-parameters"
    description = "How many requests of which size a SageMaker batch transform job should send at once."

    def do_get(self, request: Request, response: Response, context: Context) -> None:
        """Answer with the workers of one model and with `max_request_size`."""
        response.write_json(
            {
                "MaxConcurrentTransforms": int(context.config["startup_workers"]),
                "BatchStrategy": "MULTI_RECORD",
                # 0 would mean that there is no limit.
                "MaxPayloadInMB": max(1, int(context.config["max_request_size"]) // BYTES_PER_MB),
            }
        )


def _unavailable(response: Response, reason: str, text: str) -> None:
    response.set_status(503, reason)
    response.write(text)


def _has_handler(handler: str | None) -> bool:
    """Whether there is a handler for models that bring none.

    A module without a folder may be anywhere on the workers' path, so only a file that was named can be missed.
    """
    if not handler:
        return False
    path = handler.rpartition(":")[0] or handler
    if "/" not in path and not path.endswith(".py"):
        return True
    return Path(path if path.endswith(".py") else f"{path}.py").exists()
