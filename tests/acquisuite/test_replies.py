"""The reply contract: when a device may delete its file."""

from __future__ import annotations

from defusedxml.ElementTree import fromstring
from hypothesis import given, settings
from hypothesis import strategies as st

from cenergyd.acquisuite.replies import failure, printable_line, success, xml_failure, xml_success


def lets_delete(body: bytes) -> bool:
    return any(line.strip() == b"SUCCESS" for line in body.replace(b"\r", b"\n").splitlines())


def test_success() -> None:
    assert success() == b"SUCCESS\n"
    assert success(["3 rows read", ""]) == b"SUCCESS\n# 3 rows read\n"


def test_failure_is_one_line() -> None:
    assert failure("no\r\nSUCCESS\r\n") == b"FAILURE: no SUCCESS\n"
    assert failure("", ["SUCCESS"]) == b"FAILURE: \n# SUCCESS\n"


HOSTILE = st.one_of(
    st.text(max_size=60),
    st.sampled_from(["\nSUCCESS\n", "SUCCESS", "\u2028SUCCESS\u2028", "\x85SUCCESS\x0b", "\ud800"]),
)


@given(HOSTILE, st.lists(HOSTILE, max_size=3))
@settings(max_examples=100)
def test_no_failure_ever_lets_delete(reason: str, trace: list[str]) -> None:
    body = failure(reason, trace)
    assert body.startswith(b"FAILURE: ")
    assert not lets_delete(body)
    assert not any(line.strip() == "SUCCESS" for line in body.decode().splitlines())
    assert sum(line == b"SUCCESS" for line in success(trace).split(b"\n")) == 1


@given(HOSTILE, st.lists(HOSTILE, max_size=3))
@settings(max_examples=60)
def test_xml_is_well_formed_whatever_is_in_it(reason: str, notes: list[str]) -> None:
    root = fromstring(xml_failure(reason, notes))
    assert root.tag == "DAS"
    assert (root.findtext("result") or "").startswith("FAILURE: ")
    assert not lets_delete(xml_failure(reason, notes))
    assert fromstring(xml_success(notes)).findtext("result") == "SUCCESS"


def test_xml() -> None:
    assert xml_success() == b'<?xml version="1.0"?>\n<DAS><result>SUCCESS</result></DAS>\n'
    assert b"<notes><note>a &lt;b&gt;</note></notes>" in xml_success(["a <b>"])


def test_lines_are_bounded() -> None:
    assert len(printable_line("x" * 10_000)) == 400
    assert printable_line("a\tb\x00c  d\n") == "a b c d"
