from typing import Any

import pytest

from mms.context import BatchProcessor, Context, RequestProcessor


@pytest.fixture
def context() -> Context:
    context = Context("m", "/models/m", {"model": {}}, 2, None, "2.0.0")
    context.request_ids = {0: "first", 1: "second"}
    context.request_processor = BatchProcessor(
        [RequestProcessor({"Accept": "text/csv", "img": {"content-type": "image/jpeg"}}), RequestProcessor({})]
    )
    return context


def test_system_properties_are_those_of_mms(context: Context) -> None:
    assert context.system_properties == {
        "model_dir": "/models/m",
        "gpu_id": None,
        "batch_size": 2,
        "server_name": "MMS",
        "server_version": "2.0.0",
    }
    assert (context.model_name, context.manifest) == ("m", {"model": {}})


def test_request_ids_are_found_by_position(context: Context) -> None:
    assert [context.get_request_id(), context.get_request_id(1), context.get_request_id(99)] == [
        "first",
        "second",
        None,
    ]


def test_request_headers_are_looked_up_as_spelled(context: Context) -> None:
    assert context.get_request_header(0, "Accept") == "text/csv"
    assert context.get_request_header(0, "accept") is None
    assert context.get_request_header(0, "img") == {"content-type": "image/jpeg"}
    assert context.get_all_request_header(0) == {"Accept": "text/csv", "img": {"content-type": "image/jpeg"}}


@pytest.mark.parametrize("idx", [2, 99, -1])
def test_a_header_of_no_request_is_none(context: Context, idx: int) -> None:
    assert context.get_request_header(idx, "Accept") is None


def test_headers_are_split_when_they_are_first_asked_for() -> None:
    calls: list[int] = []

    def headers() -> dict[str, Any]:
        calls.append(1)
        return {"A": "1"}

    processor = RequestProcessor(headers)
    assert calls == []
    assert (processor.get_request_property("A"), processor.get_request_property("B")) == ("1", None)
    assert calls == [1]


def test_status_is_set_for_one_request(context: Context) -> None:
    context.set_response_status(404, "Nope", 1)
    assert context.get_response_status(0) == (200, None)
    assert context.get_response_status(1) == (404, "Nope")


def test_status_has_mms_defaults(context: Context) -> None:
    context.set_response_status()
    assert context.get_response_status(0) == (200, "")
    context.set_response_status(code=None)  # type: ignore[arg-type]  # MMS: None means 200
    assert context.get_response_status(0) == (200, "")


def test_status_is_set_for_all_requests(context: Context) -> None:
    context.set_all_response_status(202, "everyone")
    assert [context.get_response_status(idx) for idx in (0, 1)] == [(202, "everyone")] * 2


def test_a_status_that_is_refused_changes_nothing(context: Context) -> None:
    with pytest.raises(ValueError, match="1000"):
        context.set_response_status(1000, "big")
    with pytest.raises(ValueError, match="reason phrase"):
        context.set_response_status(404, "a\r\nb")
    assert context.get_response_status(0) == (200, None)


def test_response_headers_belong_to_one_request(context: Context) -> None:
    context.set_response_header(0, "X-A", "1")
    context.set_response_content_type(1, "text/html")
    assert (context.get_response_headers(0), context.get_response_headers(1)) == (
        {"X-A": "1"},
        {"content-type": "text/html"},
    )
    assert (context.get_response_content_type(0), context.get_response_content_type(1)) == (None, "text/html")


def test_a_content_type_of_none_is_no_content_type(context: Context) -> None:
    context.set_response_content_type(0, "text/html")
    context.set_response_content_type(0, None)  # type: ignore[arg-type]  # what get_request_header() may have returned
    assert context.get_response_content_type(0) is None


def test_numbers_make_header_values(context: Context) -> None:
    context.set_response_header(0, "X-Int", 5)  # type: ignore[arg-type]
    assert context.get_response_headers(0) == {"X-Int": "5"}


def test_header_injection_is_refused_by_the_setter(context: Context) -> None:
    with pytest.raises(ValueError, match="'X-Bad'"):
        context.set_response_header(0, "X-Bad", "a\r\nInjected: 1")
    assert context.get_response_headers(0) == {}


def test_a_request_outside_the_batch_is_named(context: Context) -> None:
    with pytest.raises(IndexError, match="no request 2 in this batch of 2"):
        context.set_response_status(404, idx=2)


def test_while_the_model_loads_there_are_no_requests() -> None:
    context = Context("m", "/models/m", None, 1, 3, "2.0.0")
    context.set_response_status(404)
    context.set_all_response_status(404)
    assert context.request_processor is None
    assert context.get_request_id(0) is None
    assert context.get_request_header(0, "Accept") is None
    with pytest.raises(IndexError, match="while the model loads"):
        context.set_response_header(0, "X-A", "1")


def test_request_processor_is_a_list(context: Context) -> None:
    processors = context.request_processor
    assert processors is not None
    assert isinstance(processors, list)
    processors[1].report_status(507, "full")
    processors[1].add_response_property("X-A", "1")
    assert context.get_response_status(1) == (507, "full")
    assert processors[1].get_response_header("X-A") == "1"
    assert processors[0].get_request_properties() == context.get_all_request_header(0)


def test_request_processor_works_as_the_processor_of_all_requests(context: Context) -> None:
    processors = context.request_processor
    assert processors is not None
    processors.report_status(500, "Unknown inference error.")
    processors.add_response_property("X-A", "1")
    assert [context.get_response_status(idx) for idx in (0, 1)] == [(500, "Unknown inference error.")] * 2
    assert processors.get_response_headers() == context.get_response_headers(1) == {"X-A": "1"}
    assert processors.get_response_header("X-A") == "1"
    assert processors.get_request_property("Accept") == "text/csv"
    assert processors.get_request_properties() == context.get_all_request_header(0)
    assert (processors.get_response_status_code(), processors.get_response_status_phrase()) == (
        500,
        "Unknown inference error.",
    )


def test_a_handlers_own_tests_may_set_a_plain_list() -> None:
    context = Context("m", "/models/m", None, 1, None, "2.0.0")
    context.request_processor = [RequestProcessor({"A": "1"})]
    assert context.get_request_header(0, "A") == "1"
    context.request_processor = None
    assert context.request_processor is None
