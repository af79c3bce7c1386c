"""The steps of a prediction can be measured one by one."""

from .hops import measure


async def test_every_hop_can_be_measured() -> None:
    figures = await measure(repeats=1, seconds=0.001)
    assert all(values["median_ns"] > 0 for values in figures.values())
    assert "front: all of it, without sockets" in figures
