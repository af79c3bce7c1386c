"""The handler API by name and signature, as handlers for Multi Model Server 1.1.11 and its 0.x archives use it."""

import importlib
import inspect
from typing import Any

import pytest

CALLS = {
    "mms.context": {
        "Context": "(model_name, model_dir, manifest, batch_size, gpu, mms_version)",
        "Context.get_request_id": "(self, idx=0)",
        "Context.get_request_header": "(self, idx, key)",
        "Context.get_all_request_header": "(self, idx)",
        "Context.set_response_content_type": "(self, idx, value)",
        "Context.get_response_content_type": "(self, idx)",
        "Context.get_response_status": "(self, idx)",
        "Context.set_response_status": "(self, code=200, phrase='', idx=0)",
        "Context.set_all_response_status": "(self, code=200, phrase='')",
        "Context.get_response_headers": "(self, idx)",
        "Context.set_response_header": "(self, idx, key, value)",
        "RequestProcessor": "(request_header)",
        "RequestProcessor.get_request_property": "(self, key)",
        "RequestProcessor.report_status": "(self, code, reason_phrase=None)",
        "RequestProcessor.get_response_status_code": "(self)",
        "RequestProcessor.get_response_status_phrase": "(self)",
        "RequestProcessor.add_response_property": "(self, key, value)",
        "RequestProcessor.get_response_headers": "(self)",
        "RequestProcessor.get_response_header": "(self, key)",
        "RequestProcessor.get_request_properties": "(self)",
    },
    "mms.service": {"PredictionException": "(message, error_code=500)"},
    "mms.metrics.dimension": {"Dimension": "(name, value)", "Dimension.to_dict": "(self)"},
    "mms.metrics.unit": {"Units": "()"},
    "mms.metrics.metric": {
        "Metric": "(name, value, unit, dimensions, request_id=None, metric_method=None)",
        "Metric.update": "(self, value)",
        "Metric.to_dict": "(self)",
    },
    "mms.metrics.metrics_store": {
        "MetricsStore": "(request_ids, model_name)",
        "MetricsStore.add_counter": "(self, name, value, idx=None, dimensions=None)",
        "MetricsStore.add_time": "(self, name, value, idx=None, unit='ms', dimensions=None)",
        "MetricsStore.add_size": "(self, name, value, idx=None, unit='MB', dimensions=None)",
        "MetricsStore.add_percent": "(self, name, value, idx=None, dimensions=None)",
        "MetricsStore.add_error": "(self, name, value, dimensions=None)",
        "MetricsStore.add_metric": "(self, name, value, idx=None, unit=None, dimensions=None)",
    },
    "mms.model_service.model_service": {
        "ModelService": "(model_name, model_dir, manifest, gpu=None)",
        "ModelService.initialize": "(self, context)",
        "ModelService.inference": "(self, data)",
        "ModelService.ping": "(self)",
        "ModelService.signature": "(self)",
        "ModelService.handle": "(self, data, context)",
        "SingleNodeService": "(model_name, model_dir, manifest, gpu=None)",
        "SingleNodeService.inference": "(self, data)",
        "SingleNodeService._preprocess": "(self, data)",
        "SingleNodeService._inference": "(self, data)",
        "SingleNodeService._postprocess": "(self, data)",
    },
    "mms.utils.timeit_decorator": {"timeit": "(func)"},
    "mms.utils.mxnet.ndarray": {"top_probability": "(data, labels, top=5)"},
    "mms.utils.mxnet.nlp": {
        "encode_sentences": "(sentences, vocab=None, invalid_label=-1, invalid_key='\\n', start_label=0)",
        "pad_sentence": "(sentence, buckets, invalid_label=-1, data_name='data', layout='NT')",
    },
}
CALLS_WITH_MXNET = {
    "mms.model_service.mxnet_model_service": {
        "check_input_shape": "(inputs, signature)",
        "MXNetBaseService": "(model_name, model_dir, manifest, gpu=None)",
        "GluonImperativeBaseService": "(model_name, model_dir, manifest, net=None, gpu=None)",
        "SingleNodeService": "(model_name, model_dir, manifest, gpu=None)",
    },
    "mms.model_service.mxnet_vision_service": {"MXNetVisionService": "(model_name, model_dir, manifest, gpu=None)"},
    "mms.model_service.gluon_vision_service": {
        "GluonVisionService": "(model_name, model_dir, manifest, net=None, gpu=None)",
        "GluonImperativeBaseService": "(model_name, model_dir, manifest, net=None, gpu=None)",
    },
    "mms.utils.mxnet.image": {
        "transform_shape": "(img_arr, dim_order='NCHW')",
        "read": "(buf, flag=1, to_rgb=True, out=None)",
        "write": "(img_arr, flag=1, format='jpeg', dim_order='CHW')",
        "resize": "(src, new_width, new_height, interp=2)",
        "fixed_crop": "(src, x0, y0, w, h, size=None, interp=2)",
        "color_normalize": "(src, mean, std=None)",
    },
}
ATTRIBUTES = {
    "Context": ("system_properties", "metrics", "request_ids", "request_processor", "manifest", "model_name"),
    "MetricsStore": ("store", "request_ids", "model_name", "cache"),
    "PredictionException": ("message", "error_code"),
}


def signature(module: str, name: str) -> str:
    call: Any = importlib.import_module(module)
    for part in name.split("."):
        call = getattr(call, part)
    parameters = inspect.signature(call).parameters.values()
    plain = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in parameters]
    return str(inspect.Signature(plain))


def flat(calls: dict[str, dict[str, str]]) -> list[tuple[str, str, str]]:
    return [(module, name, expected) for module, names in calls.items() for name, expected in names.items()]


@pytest.mark.parametrize(("module", "name", "expected"), flat(CALLS))
def test_signature(module: str, name: str, expected: str) -> None:
    assert signature(module, name) == expected


@pytest.mark.parametrize(("module", "name", "expected"), flat(CALLS_WITH_MXNET))
def test_signature_of_what_needs_mxnet(mx: Any, module: str, name: str, expected: str) -> None:
    assert signature(module, name) == expected


def test_attributes() -> None:
    from mms.context import Context
    from mms.metrics.metrics_store import MetricsStore
    from mms.service import PredictionException

    made = [Context("m", "/m", None, 1, None, "1"), MetricsStore({}, "m"), PredictionException("text", 400)]
    for thing in made:
        assert all(hasattr(thing, name) for name in ATTRIBUTES[type(thing).__name__])


def test_a_prediction_exception_reads_as_in_mms() -> None:
    from mms.service import PredictionException

    assert str(PredictionException("bad input", 400)) == "bad input : 400"


def test_submodules_of_metrics_need_no_import_of_their_own() -> None:
    import mms.metrics

    names = ("dimension", "metric", "metric_encoder", "metrics_store", "unit")
    assert all(inspect.ismodule(getattr(mms.metrics, name)) for name in names)
