"""Control characters in log lines."""

from mms.server.logs.escape import many_lines, one_line


def test_ordinary_text_stays() -> None:
    assert one_line("GET /modèle\t猫") == "GET /modèle\t猫"


def test_line_ends_and_terminal_codes_are_spelled_out() -> None:
    assert one_line("a\r\nb\x1b[31m\x85\u2028") == "a\\x0d\\x0ab\\x1b[31m\\x85\\u2028"


def test_further_lines_are_indented() -> None:
    assert many_lines("Traceback:\n2026 [INFO ] forged\r") == "Traceback:\n\t2026 [INFO ] forged\\x0d"
