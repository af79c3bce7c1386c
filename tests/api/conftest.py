"""Fixtures for the handler API: a service around a function, requests, and mxnet if it is installed."""

import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from mms.protocol.messages import InferenceRequest, Parameter
from mms.service import Service
from mms.worker import mxnet_compat


@pytest.fixture(scope="session")
def mx() -> Any:
    """mxnet itself; the test is skipped where it is not installed."""
    if importlib.util.find_spec("mxnet") is None:
        pytest.skip("mxnet is not installed")
    mxnet_compat.install()
    with warnings.catch_warnings():
        # mxnet's own code, not ours: invalid escapes, distutils.
        warnings.simplefilter("ignore")
        import mxnet
    return mxnet


@pytest.fixture
def serve() -> Callable[..., Service]:
    def make(entry_point: Any, **options: Any) -> Service:
        return Service("m", "/models/m", {"model": {"modelName": "m"}}, entry_point, None, 4, **options)

    return make


@pytest.fixture
def request_of() -> Callable[..., InferenceRequest]:
    def make(
        body: bytes = b"", content_type: str = "", *, headers: bytes = b"", request_id: str = "r-1", name: str = "body"
    ) -> InferenceRequest:
        return InferenceRequest(request_id, headers, [Parameter(name, content_type, body)])

    return make
