"""The inference API: predictions, health and its own description. Runs in the front process."""

from mms.protocol.messages import Failure
from mms.server.errors import BadRequestException, MethodNotAllowedException
from mms.server.http import openapi, web
from mms.server.http.answer import Answer, failure_answer, json_answer, prediction_answer
from mms.server.http.payload import inference_request, read_body
from mms.server.http.target import Target
from mms.server.registry import ModelRegistry


class InferenceApi:
    """Answers what MMS answers on `inference_address` (http/InferenceRequestHandler.java)."""

    def __init__(self, registry: ModelRegistry, *, max_request_bytes: int) -> None:
        self._registry = registry
        self._max_request_bytes = max_request_bytes

    async def answer(self, request: web.BaseRequest, target: Target, request_id: str) -> Answer | None:
        """Answer a request, or return None if this API has no such route."""
        match target.segments:
            case ("predictions", name, *_):
                return await self._predict(request, request_id, name)
            case ("ping", *_):
                return json_answer({"status": self._registry.health()})
            case ("invocations",) | ("models", _, "invoke") | (_, "predict"):
                name = self._model_name(target)
                return await self._predict(request, request_id, name, query=target.query)
            case _:
                return None

    async def _predict(
        self,
        request: web.BaseRequest,
        request_id: str,
        name: str,
        *,
        query: tuple[tuple[str, str], ...] = (),
    ) -> Answer:
        if request.method == "OPTIONS":
            return json_answer(openapi.model_description(self._registry.get(name).name))
        model = self._registry.get(name)
        body = await read_body(request, self._max_request_bytes)
        result = await model.predict(inference_request(request, request_id, body, query=query))
        if isinstance(result, Failure):
            return failure_answer(result)
        return prediction_answer(result)

    def _model_name(self, target: Target) -> str:
        match target.segments:
            case ("models", name, "invoke") | (name, "predict"):
                return name
        asked = target.parameter("model_name")
        found = asked or self._registry.only_startup_model() or asked
        if found is None:
            raise BadRequestException("Parameter model_name is required.")
        return found


def description_answer(request: web.BaseRequest, target: Target, document: object) -> Answer | None:
    """Answer the routes that describe an API: `OPTIONS /` and `/api-description`; None for any other route."""
    match target.segments:
        case () if request.method == "OPTIONS":
            return json_answer(document)
        case () | ("",):
            raise MethodNotAllowedException
        case ("api-description",):
            return json_answer(document)
        case ("api-description", *_):
            raise MethodNotAllowedException
    return None
