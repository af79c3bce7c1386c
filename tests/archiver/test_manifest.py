"""The manifest: what is read, what is refused and how it is written."""

import json
from pathlib import Path

import pytest

from model_archiver.errors import InvalidModelException
from model_archiver.manifest import (
    Engine,
    Manifest,
    Model,
    Publisher,
    default_manifest,
    load_json_object,
    parse_manifest,
)

WRITTEN_BY_MMS = """{
  "runtime": "python",
  "model": {
    "modelName": "m1",
    "handler": "service:handle"
  },
  "modelServerVersion": "1.0",
  "implementationVersion": "1.0",
  "specificationVersion": "1.0"
}"""


def test_dump_is_byte_for_byte_what_mms_writes() -> None:
    assert Manifest(model=Model(name="m1", handler="service:handle")).dump() == WRITTEN_BY_MMS


def test_every_key_survives_a_round_trip() -> None:
    document = {
        "runtime": "python3",
        "model": {
            "modelName": "m",
            "handler": "h",
            "description": "d",
            "modelVersion": "2",
            "extensions": {"x": 1},
        },
        "engine": {"engineName": "MXNet", "engineVersion": "1.9"},
        "modelServerVersion": "1.0",
        "implementationVersion": "1.1",
        "specificationVersion": "1.2",
        "license": "MIT",
        "description": "text",
        "userData": {"k": ["v"]},
        "publisher": {"author": "a", "email": "a@example.com"},
    }
    manifest = parse_manifest(document)
    assert json.loads(manifest.dump()) == document
    assert list(json.loads(manifest.dump())) == list(document)
    assert manifest.engine == Engine("MXNet", "1.9")
    assert manifest.publisher == Publisher("a", "a@example.com")


def test_unknown_keys_are_ignored_but_kept_in_raw() -> None:
    document: dict[str, object] = {"model": {"modelName": "m", "new": 1}, "somethingNew": [1]}
    manifest = parse_manifest(document)
    assert manifest.model.name == "m"
    assert manifest.raw == document


def test_missing_runtime_is_python() -> None:
    assert parse_manifest({"model": {}}).runtime == "python"


def test_numbers_are_taken_as_text() -> None:
    manifest = parse_manifest(
        {"model": {"modelVersion": 2.5}, "engine": {"engineName": "MXNet", "engineVersion": 0.12}}
    )
    assert manifest.model.version == "2.5"
    assert manifest.engine == Engine("MXNet", "0.12")


@pytest.mark.parametrize("document", [{"model": []}, {"model": {"modelName": {}}}, {"engine": "x"}, {"license": [1]}])
def test_wrong_types_are_refused(document: dict[str, object]) -> None:
    with pytest.raises(InvalidModelException, match="Failed to parse MAR-INF/MANIFEST.json: "):
        parse_manifest(document)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "Model name is not defined."),
        ({"model": None}, "Model name is not defined."),
        ({"model": {"modelName": ""}}, "Model name is not defined."),
        ({"model": {"modelName": "m"}}, "Model handler is not defined."),
        ({"model": {"modelName": "m", "handler": ""}}, "Model handler is not defined."),
        ({"model": {"modelName": "m", "handler": "h"}, "runtime": "ruby"}, "Runtime is not defined or invalid."),
        ({"model": {"modelName": "m", "handler": "h"}, "runtime": None}, "Runtime is not defined or invalid."),
        ({"model": {"modelName": "m", "handler": "h"}, "runtime": 3}, "Runtime is not defined or invalid."),
        ({"model": {"modelName": "m", "handler": "h"}, "engine": {}}, "engineName is required in <engine>."),
    ],
)
def test_validation_answers_in_mms_words(document: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidModelException) as caught:
        parse_manifest(document).validate()
    assert str(caught.value) == message


def test_overrides_win_and_defaults_fill_gaps() -> None:
    manifest = parse_manifest({"model": {"modelName": "m"}, "runtime": "ruby"})
    changed = manifest.with_overrides(name="n", handler="", runtime="python3", default_name="d", default_handler="dh")
    assert (changed.model.name, changed.model.handler, changed.runtime) == ("n", "dh", "python3")
    changed.validate()
    assert changed.raw == manifest.raw


def test_defaults_do_not_replace_what_the_manifest_says() -> None:
    manifest = Manifest(model=Model(name="m", handler="h"))
    assert manifest.with_overrides(default_name="x", default_handler="y", name="", runtime=None) == manifest


def test_default_manifest_needs_a_name() -> None:
    manifest = default_manifest()
    assert manifest.raw is None
    assert manifest.license == "Apache 2.0"
    with pytest.raises(InvalidModelException, match="Model name is not defined"):
        manifest.validate()


@pytest.mark.parametrize("content", [b"", b"{not json", b"[1, 2]", b"null", b"\xff\xfe\xfd", b"[" * 100_000])
def test_unreadable_manifest_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "MANIFEST.json"
    path.write_bytes(content)
    with pytest.raises(InvalidModelException, match="^Failed to parse THE-LABEL: "):
        load_json_object(path, label="THE-LABEL")


def test_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "MANIFEST.json"
    path.write_bytes(b"\xef\xbb\xbf{}")
    assert load_json_object(path, label="x") == {}


def test_huge_manifest_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "MANIFEST.json"
    with path.open("wb") as file:
        file.truncate(17 * 1024 * 1024)
    with pytest.raises(InvalidModelException, match="more than 16777216 bytes"):
        load_json_object(path, label="x")


def test_manifests_are_hashable() -> None:
    assert len({parse_manifest({"model": {"extensions": {"x": 1}}, "userData": {"k": 1}}), default_manifest()}) == 2
