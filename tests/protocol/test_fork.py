"""Reports of a host process, in whatever pieces they arrive."""

import pytest

from mms.protocol.fork import ForkEvent, ForkReport, ReportReader, encode_report
from mms.protocol.frames import FrameError

REPORTS = [
    ForkReport(ForkEvent.FORKED, 4194304),
    ForkReport(ForkEvent.REFUSED, 0, 11),
    ForkReport(ForkEvent.ENDED, 4194304, -9),
]


@pytest.mark.parametrize("size", [1, 3, 16, 17, 1000])
def test_reports_survive_any_chunking(size: int) -> None:
    data = b"".join(encode_report(report) for report in REPORTS)
    reader = ReportReader()
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    assert [report for piece in pieces for report in reader.received(piece)] == REPORTS


def test_half_a_report_is_none() -> None:
    assert list(ReportReader().received(encode_report(REPORTS[0])[:-1])) == []


def test_what_is_no_report_is_an_error() -> None:
    with pytest.raises(FrameError, match="538976288 is no event"):
        list(ReportReader().received(b" " * 16))
