"""Requests that HTTP does not allow and MMS took: refused by default, understood with `lenient_http`."""

from collections.abc import Awaitable, Callable

import pytest
from apis import Apis

from mms.server.http.lenient import mended

StartApis = Callable[..., Awaitable[Apis]]

SLOPPY = [
    b"GET /ping HTTP/1.1\nHost: x\n\n",
    b"GET /ping HTTP/1.1\r\n\r\n",
    b"GET /ping HTTP/9.9\r\nHost: x\r\n\r\n",
    b"FROB /ping HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /ping HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
]
PROPER = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("request_bytes", SLOPPY)
@pytest.mark.parametrize("is_lenient", [False, True])
async def test_sloppy_requests_are_understood_only_where_that_is_asked_for(
    request_bytes: bytes, is_lenient: bool, start_apis: StartApis
) -> None:
    apis = await start_apis(has_lane=True, lenient_http=is_lenient)
    async with await apis.open() as wire:
        wire.send(request_bytes)
        assert (await wire.answer()).status == (200 if is_lenient else 400)
        if is_lenient:
            wire.send(PROPER)
            assert (await wire.answer()).status == 200


@pytest.mark.parametrize(
    "data",
    [
        PROPER,
        b"GET /ping HTTP/1.0\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nHost: x\r\nIncomplete: ",
        b"GARBAGE",
        b"\x16\x03\x01\x02\x00\x01",
        b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nGET / HTTP/9.9\r\n\r\n",
    ],
)
def test_what_needs_no_mending_or_cannot_be_mended_stays_as_it_is(data: bytes) -> None:
    assert mended(data) == (data, None)


def test_only_the_head_is_mended() -> None:
    body = b"FROB / HTTP/9.9\n\n"
    head = b"FROB /x HTTP/9.9\r\nContent-Length: %d\r\n\r\n" % len(body)
    data, method = mended(head + body)
    assert method == "FROB"
    assert data == b"PATCH /x HTTP/1.1\r\nContent-Length: %d\r\nHost: \r\n\r\n" % len(body) + body
