"""The statuses and wire names of the errors."""

import pytest

from mms.server import errors


@pytest.mark.parametrize(
    ("name", "status", "wire_type"),
    [
        ("BadRequestException", 400, "BadRequestException"),
        ("InvalidModelException", 400, "InvalidModelException"),
        ("DownloadModelException", 400, "DownloadModelException"),
        ("ResourceNotFoundException", 404, "ResourceNotFoundException"),
        ("ModelNotFoundException", 404, "ModelNotFoundException"),
        ("MethodNotAllowedException", 405, "MethodNotAllowedException"),
        ("RequestTimeoutException", 408, "RequestTimeoutException"),
        ("ConflictStatusException", 409, "ConflictStatusException"),
        ("RequestEntityTooLarge", 413, "RequestEntityTooLarge"),
        ("InternalServerException", 500, "InternalServerException"),
        ("ServiceUnavailableException", 503, "ServiceUnavailableException"),
        ("InsufficientStorageException", 507, "InternalServerException"),
        ("WorkerDied", 500, "InternalServerException"),
        ("WorkerInitializationException", 500, "InternalServerException"),
    ],
)
def test_status_and_wire_type(name: str, status: int, wire_type: str) -> None:
    error = getattr(errors, name)("why")
    assert (error.status, error.type, str(error)) == (status, wire_type, "why")


def test_mms_texts_are_the_defaults() -> None:
    assert str(errors.ResourceNotFoundException()) == ("Requested resource is not found, please refer to API document.")
    assert str(errors.MethodNotAllowedException()) == ("Requested method is not allowed, please refer to API document.")
    assert str(errors.WorkerDied()) == "Worker died."


def test_load_failure_keeps_code_and_traceback() -> None:
    error = errors.WorkerInitializationException("Out of memory", 507, "Traceback ...")
    assert (error.status, error.traceback, error.type) == (507, "Traceback ...", "InternalServerException")


def test_the_tree_in_the_docstring_names_every_class() -> None:
    classes = [name for name, value in vars(errors).items() if isinstance(value, type)]
    assert [name for name in classes if name not in (errors.__doc__ or "")] == []
