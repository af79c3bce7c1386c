import asyncio, time, pytest, contextlib
from real import running_server
@pytest.mark.parametrize("head", ["", "Connection: close\r\n"])
async def test_x(config, mar, head):
    mar("slow")
    async with running_server(config(load_models="ALL", shutdown_timeout=2.0)) as r:
        w = await r.open()
        w.send(b"POST /predictions/slow HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n0")
        await w.answer()
        w2 = await r.open()
        w2.send(("POST /predictions/slow HTTP/1.1\r\nHost: h\r\n%sContent-Length: 4\r\n\r\n1000" % head).encode())
        await asyncio.sleep(0.2)
        t = time.time()
    print("STOP TOOK", repr(head), time.time() - t)
    with contextlib.suppress(Exception):
        print("GOT", (await w2.answer()).status)
    for x in (w, w2): x.writer.close()
