"""Ids of requests."""

import uuid

from mms.server.http.request_id import RequestIds


def test_ids_are_random_uuids_and_never_the_same() -> None:
    ids = RequestIds()
    made = [ids.new() for _ in range(5000)]
    assert len(set(made)) == len(made)
    for one in made:
        parsed = uuid.UUID(one)
        assert (str(parsed), parsed.version, parsed.variant) == (one, 4, uuid.RFC_4122)


def test_every_maker_makes_its_own() -> None:
    assert RequestIds().new() != RequestIds().new()
