"""Manifests of 0.x archives."""

import pytest

from model_archiver.errors import InvalidModelException
from model_archiver.legacy import parse_legacy_manifest
from model_archiver.manifest import Engine, Publisher

LEGACY = {
    "Engine": {"MXNet": 0.12},
    "Model-Archive-Description": "a model",
    "License": "Apache 2.0",
    "Model-Archive-Version": 0.1,
    "Model-Server": 0.1,
    "Model": {
        "Service": "service.py",
        "Symbol": "net.json",
        "Parameters": "net.params",
        "Signature": "signature.json",
        "Description": "about the net",
        "Model-Name": "net",
    },
    "Created-By": {"Author": "me", "Author-Email": "me@example.com"},
}


def test_keys_are_mapped() -> None:
    manifest = parse_legacy_manifest(LEGACY)
    manifest.validate()
    assert (manifest.model.name, manifest.model.handler, manifest.model.version) == ("net", "service.py", "snapshot")
    assert manifest.model.extensions == {"parametersFile": "net.params", "symbolFile": "net.json"}
    assert manifest.model.description == "about the net"
    assert manifest.engine == Engine("MXNet", "0.12")
    assert manifest.publisher == Publisher("me", "me@example.com")
    assert (manifest.description, manifest.license) == ("a model", "Apache 2.0")
    assert manifest.specification_version == "0.1"
    assert manifest.raw is LEGACY


@pytest.mark.parametrize(
    "document", [{}, {"Model": {}}, {"Model": {"Model-Name": "m", "Service": ""}}, {"Model": None}]
)
def test_a_service_is_required(document: dict[str, object]) -> None:
    with pytest.raises(InvalidModelException) as caught:
        parse_legacy_manifest(document)
    assert str(caught.value) == "Missing Service entry in MANIFEST.json"


@pytest.mark.parametrize(
    ("engine", "expected"),
    [(None, None), ("MXNet", None), ({"MXNet": "1.0"}, Engine("MXNet", "1.0")), ({"MXNet": []}, Engine("MXNet", None))],
)
def test_engine_may_be_anything(engine: object, expected: Engine | None) -> None:
    assert parse_legacy_manifest({"Model": {"Service": "s.py"}, "Engine": engine}).engine == expected
