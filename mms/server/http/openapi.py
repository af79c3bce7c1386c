"""The API descriptions (OpenAPI 3.0.1) as plain data: what `OPTIONS /` answers. Runs in the front process."""

from typing import Any

Json = dict[str, Any]

STRING: Json = {"type": "string"}
INTEGER: Json = {"type": "integer"}
BINARY: Json = {"type": "string", "format": "binary"}
STATUS: Json = {"type": "object", "required": ["status"], "properties": {"status": STRING}}
ERROR: Json = {
    "type": "object",
    "required": ["code", "type", "message"],
    "properties": {"code": INTEGER, "type": STRING, "message": STRING},
}
API: Json = {
    "type": "object",
    "required": ["openapi", "info", "paths"],
    "properties": {"openapi": STRING, "info": {"type": "object"}, "paths": {"type": "object"}},
}
FORM: Json = {"required": ["data"], "properties": {"model_name": STRING, "data": BINARY}}


def inference_description() -> Json:
    """Describe the inference API."""
    return _document("Model Server inference API", inference_paths())


def management_description() -> Json:
    """Describe the management API."""
    return _document("Model Server management API", management_paths())


def combined_description() -> Json:
    """Describe both APIs, for the server that has one address for both."""
    return _document("Model Server APIs", inference_paths() | management_paths())


def model_description(name: str) -> Json:
    """Describe the prediction call of one model. MMS: the path says `prediction`, though the route is `predictions`."""
    operation = {
        "description": f"A prediction of the model {name}.",
        "operationId": name,
        "parameters": [],
        "responses": {"200": {"description": "What the model predicts."}, **_errors(500)},
    }
    return _document(f"RESTful API for {name}", {f"/prediction/{name}": {"post": operation}})


def inference_paths() -> Json:
    """Return the paths of the inference API."""
    invocations = _operation(
        "invocations",
        "Predict, with the model named in the query (SageMaker).",
        [_query("model_name", STRING, "Name of the model; may be left out when one model was loaded at the start.")],
        {"200": _content("*/*", FORM, "What the model predicts."), **_errors(400, 404, 500, 503)},
        body=_content("multipart/form-data", FORM, "What to predict from."),
    )
    return {
        "/": {"options": _api_description()},
        "/{model_name}/predict": {
            "post": _prediction("predict", "Predict; use /predictions instead.", deprecated=True)
        },
        "/ping": {
            "get": _operation(
                "ping", "The health of the server.", [], {"200": _json(STATUS, "Healthy"), **_errors(500)}
            )
        },
        "/predictions/{model_name}": {
            "post": _prediction("predictions", "Predict with the named model."),
            "options": _operation(
                "predictionsApi",
                "Describe the API of the named model.",
                [_model_name()],
                {"200": _json({"type": "object"}, "OpenAPI document")},
            ),
        },
        "/api-description": {"get": _api_description() | {"deprecated": True}},
        "/invocations": {"post": invocations},
        "/models/{model_name}/invoke": {"post": invocations},
    }


def management_paths() -> Json:
    """Return the paths of the management API."""
    return {
        "/": {"options": _api_description()},
        "/models": {"get": _list_models(), "post": _register_model()},
        "/models/{model_name}": {"get": _describe_model(), "put": _scale_model(), "delete": _unregister_model()},
    }


def _list_models() -> Json:
    model = {"type": "object", "required": ["modelName", "modelUrl"], "properties": _strings("modelName", "modelUrl")}
    page = {
        "type": "object",
        "required": ["models"],
        "properties": {"nextPageToken": STRING, "models": {"type": "array", "items": model}},
    }
    parameters = [
        _query("limit", INTEGER | {"default": "100"}, "How many models to list, 1 to 100."),
        _query("next_page_token", STRING, "Where to go on: nextPageToken of the answer before."),
        _query("model_name_pattern", STRING, "Part of the names to list."),
    ]
    return _operation("listModels", "List the models.", parameters, {"200": _json(page, "One page."), **_errors(500)})


def _register_model() -> Json:
    runtime = STRING | {"enum": ["PYTHON", "PYTHON2", "PYTHON3"]}
    parameters = [
        # MMS: described as model_url, but `url` is what the call reads.
        _query(
            "model_url", STRING, "Archive: http(s) url, or file of the model store. Send it as `url`.", required=True
        ),
        _query("model_name", STRING, "Name of the model; default: the archive's."),
        _query("handler", STRING, "Entry point of the handler; default: the archive's."),
        _query("runtime", runtime, "Runtime of the handler; default: the archive's."),
        _query("batch_size", INTEGER | {"default": "1"}, "Largest batch."),
        _query("max_batch_delay", INTEGER | {"default": "100"}, "Milliseconds that a batch waits to fill."),
        _query("response_timeout", INTEGER | {"default": "2"}, "Seconds that a worker may take for one batch."),
        _query("initial_workers", INTEGER | {"default": "0"}, "Workers to start."),
        _query("synchronous", _false(), "Whether to answer once the workers are ready. Default: true."),
        _query("preload_model", _false(), "Whether to load once and fork the workers."),
    ]
    return _operation("registerModel", "Register a model.", parameters, _changes(400, 404, 409, 500))


def _describe_model() -> Json:
    worker = {
        "type": "object",
        "required": ["id", "startTime", "status"],
        "properties": {
            **_strings("id", "startTime"),
            "gpu": {"type": "boolean"},
            "status": STRING | {"enum": ["READY", "LOADING", "UNLOADING"]},
        },
    }
    metrics = ("rejectedRequests", "waitingQueueSize", "requests")
    model = {
        "type": "object",
        "required": [
            *("modelName", "modelVersion", "modelUrl", "minWorkers", "maxWorkers", "status", "workers", "metrics")
        ],
        "properties": {
            **_strings("modelName", "modelVersion", "modelUrl"),
            **dict.fromkeys(("minWorkers", "maxWorkers", "batchSize", "maxBatchDelay"), INTEGER),
            "status": STRING,
            "workers": {"type": "array", "items": worker},
            "metrics": {
                "type": "object",
                "required": list(metrics),
                "properties": dict.fromkeys(metrics, INTEGER),
            },
        },
    }
    answers = {"200": _json(model, "The model."), **_errors(500)}
    return _operation("describeModel", "Describe a model.", [_model_name()], answers)


def _scale_model() -> Json:
    parameters = [
        _model_name(),
        _query("min_worker", INTEGER | {"default": "1"}, "Fewest workers."),
        _query("max_worker", INTEGER | {"default": "1"}, "Most workers; default: min_worker."),
        _query("number_gpu", INTEGER | {"default": "0"}, "Without effect."),
        _query("synchronous", _false(), "Whether to answer once the workers are ready."),
        _query("timeout", INTEGER | {"default": "-1"}, "Without effect."),
    ]
    return _operation("setAutoScale", "Change the number of workers.", parameters, _changes(400, 404, 500))


def _unregister_model() -> Json:
    parameters = [
        _model_name(),
        _query("synchronous", _false(), "Without effect: the answer always waits."),
        _query("timeout", INTEGER | {"default": "-1"}, "Without effect."),
    ]
    answers = {code: answer for code, answer in _changes(404, 408, 500).items() if code != "210"}
    return _operation("unregisterModel", "Remove a model.", parameters, answers)


def _document(title: str, paths: Json) -> Json:
    return {"openapi": "3.0.1", "info": {"title": title, "version": "1.0.0"}, "paths": paths}


def _api_description() -> Json:
    answers = {"200": _json(API, "OpenAPI document"), **_errors(500)}
    return _operation("apiDescription", "Describe this API.", [], answers)


def _prediction(operation_id: str, description: str, *, deprecated: bool = False) -> Json:
    operation = _operation(
        operation_id,
        description,
        [_model_name()],
        {"200": _content("*/*", BINARY, "What the model predicts."), **_errors(404, 500, 503)},
        body=_content("*/*", BINARY, "What to predict from."),
    )
    return operation | {"deprecated": True} if deprecated else operation


def _operation(
    operation_id: str, description: str, parameters: list[Json], responses: Json, *, body: Json | None = None
) -> Json:
    operation: Json = {"description": description, "operationId": operation_id, "parameters": parameters}
    if body is not None:
        operation["requestBody"] = body | {"required": True}
    return operation | {"responses": responses}


def _model_name() -> Json:
    return {"in": "path", "name": "model_name", "description": "Name of the model.", "required": True, "schema": STRING}


def _query(name: str, schema: Json, description: str, *, required: bool = False) -> Json:
    return {"in": "query", "name": name, "description": description, "required": required, "schema": schema}


def _changes(*errors: int) -> Json:
    answers = {"200": "Done.", "202": "In progress.", "210": "Done in part."}
    return {code: _json(STATUS, text) for code, text in answers.items()} | _errors(*errors)


def _errors(*codes: int) -> Json:
    texts = {
        400: "The request is wrong.",
        404: "No such model.",
        408: "It took too long.",
        409: "The name is taken.",
        500: "The server or a worker failed.",
        503: "No worker is free.",
    }
    return {str(code): _json(ERROR, texts[code]) for code in codes}


def _json(schema: Json, description: str) -> Json:
    return _content("application/json", schema, description)


def _content(mime: str, schema: Json, description: str) -> Json:
    return {"description": description, "content": {mime: {"schema": schema}}}


def _strings(*names: str) -> Json:
    return dict.fromkeys(names, STRING)


def _false() -> Json:
    return {"type": "boolean", "default": "false"}
