"""Log files: each rule of the format by example, then properties."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Generator, Sequence
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cenergyd.acquisuite.encode import error_row, gz, log_row, log_text
from cenergyd.acquisuite.fast_rows import read_uniform_rows
from cenergyd.acquisuite.layouts import H8036, SHARK, VERIS, Layout
from cenergyd.acquisuite.log_file import ParsedLog, merge, parse_log, parse_log_steps
from cenergyd.errors import UploadError
from cenergyd.readings.model import VALUES, Reading

FIELD = Path(__file__).parent.parent / "field"
SAMPLES = Path(__file__).parent.parent / "samples"
ION6200 = Layout.of("ion6200", P=6, L1_PF=17, Q=11, E_net=4)
SMALL = Layout.of("small", P=4, L1_PF=5, L1_V=6, Q=7)
NOW = 1700000000
T0 = 1012501800  # 2002-01-31 18:30:00


def read(content: bytes, layout: Layout = SMALL, now: int = NOW, limit: int = 1 << 20) -> ParsedLog:
    return parse_log(content, layout, now=now, max_inflated_bytes=limit)


def row(values: str, time: str = "2002-01-31 18:30:00", head: str = "0,0,0") -> str:
    return f"'{time}',{head},{values}"


def test_the_example_of_the_protocol_page() -> None:
    log = read(b"'2002-01-31 18:30:00',0,0,0,-0.00,89.29,39.05,49.11,0,0,0,0\r\n", Layout.of("x", P=6, Q=7))
    assert log.readings == [Reading(T0, P=39.05, Q=49.11)]
    assert (log.rows, log.readable_rows, log.skipped, log.missing_values) == (1, 1, {}, 0)


def test_the_real_log() -> None:
    log = read((SAMPLES / "mb-001.log.gz").read_bytes(), ION6200)
    assert len(log.readings) == log.rows == 26
    assert log.readings[0] == Reading(1084376700, P=123.288, L1_PF=0.981, L1_V=None, Q=24.194, E_net=141713)
    assert [b.time - a.time for a, b in zip(log.readings, log.readings[1:], strict=False)] == [900] * 25


@pytest.mark.parametrize("layout", [VERIS, SHARK, H8036])
def test_the_columns_of_the_layouts(layout: Layout) -> None:
    line = log_row(T0, {c: c / 100 for c in range(4, 100)}, columns=100) + "\n"
    (reading,) = read(line.encode(), layout).readings
    expected = {name: (c / 100 if (c := layout.columns.get(name)) else None) for name in VALUES}
    assert reading == Reading.of_values(T0, list(expected.values()))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends(end: str) -> None:
    text = end.join([row("1,0.9,230,2"), "", row("2,0.8,231,3", "2002-01-31 18:31:00"), ""])
    assert read(text.encode()).readings == [Reading(T0, 1, 0.9, 230, 2), Reading(T0 + 60, 2, 0.8, 231, 3)]


@pytest.mark.parametrize("quote", ["'", '"', ""])
def test_quotes(quote: str) -> None:
    text = "".join(f"{quote}2002-01-31 18:3{n}:00{quote},0,0,0,{n},1,230,0\n" for n in range(3))
    assert [r.P for r in read(text.encode()).readings] == [0, 1, 2]


def test_gzip_is_known_by_its_bytes_and_may_have_several_members() -> None:
    first, second = row("1,1,230,0") + "\n", row("2,1,230,0", "2002-01-31 18:31:00") + "\n"
    expected = read((first + second).encode())
    assert read(gz((first + second).encode())) == expected
    assert read(gz(first.encode()) + gz(second.encode())) == expected
    assert read(gz(first.encode()) + b"\0" * 20 + gz(second.encode()) + b"\0" * 512) == expected


def test_damaged_gzip_is_refused_whole() -> None:
    packed = gz((row("1,1,230,0") + "\n").encode() * 50)
    for cut in range(2, len(packed)):
        with pytest.raises(UploadError):
            read(packed[:cut])
    broken = bytearray(packed)
    broken[-6] ^= 1  # the checksum
    with pytest.raises(UploadError):
        read(bytes(broken))


@pytest.mark.parametrize(
    "after", [b"\xff" * 100_000, b"\r\n", b"\0" * 5, b"rubbish", b"\x1f", b"\xff\x1f\r", b"\r\n\0\xff" * 9]
)
def test_bytes_after_a_whole_member_are_ignored(after: bytes) -> None:
    packed = gz((row("1,1,230,0") + "\n").encode())
    assert read(packed + after) == read(packed)
    assert read(packed + after.replace(b"rubbish", b"").replace(b"\x1f", b"") + packed).duplicates == 1
    with pytest.raises(UploadError):
        read(packed + after[:3].replace(b"rub", b"").replace(b"\x1f", b"") + packed[:-3])  # a second member, cut short


@pytest.mark.parametrize("name", ["07-whole-gzip-then-ff.log.gz", "08-whole-gzip-then-crlf.log.gz"])
def test_whole_gzip_files_of_the_field(name: str) -> None:
    (reading,) = read((FIELD / name).read_bytes(), Layout.of("x", P=14)).readings
    assert reading.P == 1.5


def test_size_is_bounded_before_it_is_inflated() -> None:
    bomb = gzip.compress(b"0" * 50_000_000)
    with pytest.raises(UploadError, match="more than 1000000 bytes"):
        read(bomb, limit=1_000_000)
    with pytest.raises(UploadError, match="members"):
        read(gz(b"") * 2000)
    with pytest.raises(UploadError):
        read(b"x" * 2000, limit=1000)


def test_header_lines_are_not_rows() -> None:
    log = read(
        b"time(utc),error,low alarm,high alarm,'P (kW)'\r\n" + row("1,1,230,0").encode() + b"\r\n'time(UTC)',x\r\n"
    )
    assert (log.rows, len(log.readings), log.skipped) == (1, 1, {})


def test_error_rows_are_gaps_and_counted_by_code() -> None:
    text = "\n".join([row("0,0,0,0", head="139,0,0"), error_row(T0 + 60, 0x8B), row("5,1,230,0", "2002-01-31 18:32:00"),
                      row("0,0,0,0", "2002-01-31 18:33:00", head="0x8b,0,0"), error_row(T0 + 300, 160), ""])  # fmt: skip
    log = read(text.encode())
    assert log.readings == [Reading(T0 + 120, 5, 1, 230, 0)]
    assert (log.error_rows, log.error_codes, log.missing_values) == (4, {139: 3, 160: 1}, 0)
    assert log.last_error == (T0 + 180, 139), "an event of the logger is no error of the meter"


def test_rows_of_errors_alone_are_readable() -> None:
    log = read((error_row(T0, 139) + "\n" + error_row(T0 + 60, 160) + "\n").encode())
    assert (log.readings, log.error_rows, log.readable_rows) == ([], 2, 2)


@pytest.mark.parametrize("head", ["0,0,0", "0,0x02,0xff", "0,,", "0,12,0", "0x0,0,0", ",0,0", "00,0,0", " 0 ,0,0"])
def test_alarms_and_ways_to_say_no_error(head: str) -> None:
    assert read((row("1,1,230,0", head=head) + "\n").encode()).readings == [Reading(T0, 1, 1, 230, 0)]


@pytest.mark.parametrize(
    "value",
    [
        "",
        "NULL",
        "null",
        "nan",
        "NaN",
        "inf",
        "-inf",
        "Infinity",
        "abc",
        "1_0",
        "0x10",
        "1e999",
        "--",
        "1.2.3",
        "\N{ARABIC-INDIC DIGIT ONE}",
    ],
)
def test_what_is_no_value_is_missing_and_never_zero(value: str) -> None:
    log = read((row(f"{value},0.9,{value},{value}") + "\n").encode())
    assert (log.readings, log.missing_values) == ([Reading(T0, None, 0.9, None, None)], 3)


def test_a_row_without_any_value_is_a_gap() -> None:
    log = read((row("NULL,,nan,") + "\n").encode())
    assert (log.readings, log.skipped, log.missing_values, log.readable_rows) == ([], {"no_values": 1}, 4, 1)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("-1", -1), ("1.001", 1), ("-1.0005", -1), ("0", 0), ("1.01", None), ("98.1", None), ("-95", None)],
)
def test_power_factors(text: str, value: float | None) -> None:
    assert read((row(f"1,{text},230,0") + "\n").encode()).readings == [Reading(T0, 1, value, 230, 0)]


def test_scales() -> None:
    watts = Layout("w", SMALL.columns, {"P": 0.001, "L1_PF": 0.01, "L1_V": 1000.0, "Q": 0.001})
    assert read((row("1500,98,0.23,-500") + "\n").encode(), watts).readings == [Reading(T0, 1.5, 0.98, 230, -0.5)]
    assert read((row("1500,98,1e306,-500") + "\n").encode(), watts).readings[0].L1_V is None


def test_a_row_cut_by_missing_points_keeps_what_is_there() -> None:
    log = read((row("1.5,0.9") + "\n" + row("2", "2002-01-31 18:31:00") + "\n'2002-01-31 18:32:00',0\n").encode())
    assert log.readings == [Reading(T0, 1.5, 0.9), Reading(T0 + 60, 2)]
    assert log.skipped == {"no_values": 1}


def test_a_last_line_cut_anywhere_never_gives_another_value() -> None:
    whole = (row("123.4,-0.95,230.25,-17.5", "2002-01-31 18:31:00") + ",99\r\n").encode()
    first = (row("1,1,231,0") + "\r\n").encode()
    for cut in range(len(whole)):
        log = read(first + whole[:cut])
        assert log.readings[0] == Reading(T0, 1, 1, 231, 0)
        for reading in log.readings[1:]:
            assert reading.time == T0 + 60
            assert reading.P in (None, 123.4)
            assert reading.L1_PF in (None, -0.95)
            assert reading.L1_V in (None, 230.25)
            assert reading.Q in (None, -17.5)


@pytest.mark.parametrize("glue", ["", "\0", "\0" * 4096])
def test_a_row_that_the_next_one_runs_into(glue: str) -> None:
    cut = row("123.4,0.95,230,1")
    following = row("5,0.5,231,2", "2002-01-31 18:45:00") + "\r\n"
    for length in range(len(cut)):
        log = read((cut[:length] + glue + following).encode())
        assert log.readings[-1] == Reading(T0 + 900, 5, 0.5, 231, 2)
        for reading in log.readings[:-1]:
            assert reading.P in (None, 123.4)
            assert reading.L1_PF in (None, 0.95)
            assert reading.L1_V in (None, 230)


def test_unwritten_flash_in_a_row() -> None:
    log = read(
        (row("123.4,0.9") + "\0\0\0" + "7,8,9\n" + row("1,1,230,0", "2002-01-31 18:31:00") + "\n\0\0\0").encode()
    )
    assert log.readings == [Reading(T0, 123.4), Reading(T0 + 60, 1, 1, 230, 0)]
    assert log.skipped == {"bad_time": 1}


def test_clock_jumps_are_skipped_and_counted() -> None:
    times = [
        "1970-01-01 00:00:10",
        "1999-12-31 23:59:59",
        "2000-01-01 00:00:00",
        "2023-11-15 22:13:20",
        "2023-11-15 22:13:21",
    ]
    log = read(
        "".join(row("1,1,230,0", t) + "\n" for t in [*times, "2106-02-07 06:28:15", "1960-01-01 00:00:00"]).encode()
    )
    assert [r.time for r in log.readings] == [946684800, NOW + 86400]
    assert log.skipped == {"before_2000": 3, "future": 2}


@pytest.mark.parametrize(
    "time",
    ["2002-02-30 00:00:00", "2001-02-29 00:00:00", "2002-13-01 00:00:00", "2002-00-10 00:00:00", "2002-01-31 24:00:00",
     "2002-01-31 18:60:00", "2002-01-31 18:30:60", "2002-01-31 18:30", "2002-01-3", "", "x", "0000-01-01 00:00:00 "],
)  # fmt: skip
def test_times_that_are_none(time: str) -> None:
    log = read((row("1,1,230,0", time) + "\n" + row("2,1,230,0") + "\n").encode())
    assert len(log.readings) == 1
    assert sum(log.skipped.values()) == 1


def test_a_bad_row_does_not_affect_the_good_ones() -> None:
    rows = [
        "rubbish",
        row("1,1,230,0"),
        row("9,9,9,9", head="x,0,0"),
        "'",
        ",,,,",
        row("2,1,230,0", "2002-01-31 18:31:00"),
        "\xff\xfe",
    ]
    log = read("\n".join([*rows, ""]).encode("latin-1"))
    assert [r.P for r in log.readings] == [1, 2]
    assert log.skipped == {"bad_time": 4, "bad_row": 1}
    assert log.rows == 7


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"rubbish\n", b"\0" * 1000, b"time(utc),error\n", b"'2002-01-31 18:30:00'\n", gz(b"")]
)
def test_no_readable_row_is_refused(content: bytes) -> None:
    with pytest.raises(UploadError, match="no readable row"):
        read(content)


def test_repeats_and_disorder() -> None:
    texts = [row("2,1,230,0", "2002-01-31 18:31:00"), row("1,1,230,0"), row("3,NULL,231,0", "2002-01-31 18:31:00"), ""]
    log = read("\n".join(texts).encode())
    assert log.readings == [Reading(T0, 1, 1, 230, 0), Reading(T0 + 60, 3, 1, 231, 0)]
    assert (log.duplicates, log.rows) == (1, 3)


def test_a_very_long_line_takes_bounded_memory_and_only_it_is_lost() -> None:
    good = (row("1,1,230,0") + "\n").encode()
    log = read(good + b"9" * 3_000_000 + b"\n" + good.replace(b"18:30", b"18:31"), limit=1 << 23)
    assert [r.time for r in log.readings] == [T0, T0 + 60]
    assert log.skipped == {"too_long": 1}


def test_rows_across_the_pieces_of_a_long_log() -> None:
    readings = [Reading(T0 + 60 * n, n / 8, 0.5, 230.0, n / 16) for n in range(5000)]
    content = log_text(readings, VERIS)
    steps = parse_log_steps(content, VERIS, latest=NOW, max_inflated_bytes=1 << 24)
    count = 0
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            assert stop.value.readings == readings
            break
        count += 1
    assert count >= len(content) // (128 * 1024)


@pytest.mark.parametrize("blank", [b" ", b"\t "])
@pytest.mark.parametrize("column", [4, 5])
def test_the_only_row_of_a_log_is_kept_if_a_field_is_blank(blank: bytes, column: int) -> None:
    fields = [blank if each == column else b"1" for each in (4, 5, 6, 7)]
    text = b"'2002-01-31 18:30:00',0,0,0,%b\n" % b",".join(fields)
    log = by_columns(text, SMALL)
    assert log is not None and log == by_rows(text, SMALL)
    assert [reading.L1_V for reading in log.readings] == [1.0]


# Properties

NUMBERS = st.one_of(st.none(), st.floats(-1e29, 1e29).map(lambda x: float(f"{x:.6g}")))
READINGS = st.lists(
    st.tuples(
        st.integers(946684800, NOW),
        NUMBERS,
        st.one_of(st.none(), st.floats(-1, 1)),
        NUMBERS,
        NUMBERS,
    ).map(lambda fields: Reading(*fields)),
    min_size=1,
    max_size=12,
)


def has_value(reading: Reading) -> bool:
    return any(value is not None for value in reading[1:5])


def reference(rows: Sequence[Reading]) -> list[Reading]:
    """What a store holds after the rows, one by one."""
    store: dict[int, Reading] = {}
    for reading in rows:
        if has_value(reading):
            store[reading.time] = merge(store[reading.time], reading) if reading.time in store else reading
    return [store[time] for time in sorted(store)]


@given(READINGS, st.sampled_from([VERIS, SHARK, SMALL]), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
@settings(max_examples=80)
def test_what_is_encoded_comes_back(rows: list[Reading], layout: Layout, end: str, packed: bool) -> None:
    content = log_text(rows, layout, columns=130, line_end=end)
    assert read(gz(content) if packed else content, layout).readings == reference(rows)


@given(READINGS, st.randoms(use_true_random=False), st.integers(1, 4))
@settings(max_examples=60)
def test_any_split_in_any_order_gives_the_same_readings(rows: list[Reading], rng: random.Random, files: int) -> None:
    rows = list({reading.time: reading for reading in rows}.values())  # a time has one reading; repeats are added below
    whole = read(log_text(rows, SMALL, columns=8)).readings
    shuffled = rows + rng.sample(rows, len(rows) // 2)
    rng.shuffle(shuffled)
    stored: list[Reading] = []
    for n in range(files):
        if part := shuffled[n::files]:
            stored += read(gz(log_text(part, SMALL, columns=8))).readings
    assert reference(stored) == whole == reference(rows)


@given(st.binary(max_size=400))
@settings(max_examples=150)
def test_any_bytes_raise_nothing_but_upload_error(content: bytes) -> None:
    line = (row("1,1,230,0") + "\n").encode()
    for candidate in (content, b"\x1f\x8b" + content, gzip.compress(content), gz(line) + content, line + content):
        with suppress(UploadError):
            read(candidate)
    assert read(line + b"\n" + content).readings  # what follows a good row must not remove it


ODD_LINES = st.lists(
    st.sampled_from(["'", '"', ",", "\n", "\r", "\0", "0", "1", "9", ".", "-", "_", "e", "x", "NULL", "2002-01-31 18:30:00", "'2002-01-31 18:30:00',0,0,0,"]),
    max_size=60,
).map("".join)  # fmt: skip


@given(ODD_LINES)
@settings(max_examples=200)
def test_nearly_rows_give_values_in_bounds(text: str) -> None:
    try:
        log = read(text.encode())
    except UploadError:
        return
    assert log.rows >= len(log.readings)
    times = [reading.time for reading in log.readings]
    assert times == sorted(set(times))
    for reading in log.readings:
        assert has_value(reading)
        assert 946684800 <= reading.time <= NOW + 86400
        assert all(value is None or value - value == 0.0 for value in reading[1:5])
        assert reading.L1_PF is None or -1 <= reading.L1_PF <= 1


def by_columns(text: bytes, layout: Layout) -> ParsedLog | None:
    """What a text gives; None where it is refused."""
    try:
        return read(text, layout)
    except UploadError:
        return None


def by_rows(text: bytes, layout: Layout) -> ParsedLog | None:
    """The same without the fast path for even rows."""
    with patch("cenergyd.acquisuite.log_file.read_uniform_rows", return_value=None):
        return by_columns(text, layout)


@pytest.mark.parametrize("value", ["1.5e308", "-1.5e308", "1.1e30"])
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_value_beyond_any_meter_is_missing_and_counted(value: str, rows: int) -> None:
    lines = [f"'2002-01-31 18:{minute:02}:00',0,0,0,{value},7.5" for minute in range(rows)]
    log = by_columns(("\n".join(lines) + "\n").encode(), Layout.of("two", P=4, Q=5))
    assert [(reading.P, reading.Q) for reading in log.readings] == [(None, 7.5)] * rows
    assert log.missing_values == rows


EVEN = Layout("even", {"P": 4, "L1_PF": 5, "Q": 7, "E_net": 6}, {"P": 0.001})
FIELDS = st.sampled_from(
    [
        b"0",
        b"0.5",
        b"-1",
        b"1e3",
        b"nan",
        b"1e308",
        b"1e31",
        b"-1e30",
        b"1.0005",
        b"",
        b" 7 ",
        b" ",
        b"\t",
        b".5",
        b"+5",
        b"5.",
        b"05",
        b"-0",
        b"[1",
        b"1]",
        b"true",
        b"'",
        b"_",
        b"\0",
        b"x",
        b"'2002-01-31 18:35:00'",
    ]
)


@given(
    st.lists(
        st.tuples(st.integers(0, 8), st.lists(st.one_of(st.just(b"0.25"), FIELDS), min_size=3, max_size=5)), min_size=1, max_size=5
    ),
    st.sampled_from([b"\n", b"\r\n"]),
    st.sampled_from([b"", b"time(utc),error,low,high,'P (kW)'\n", b"\n"]),
    st.lists(st.tuples(st.integers(0, 200), st.sampled_from([b"", b"\n", b",", b"'", b"0", b"\r", b"1,'2002-01-31 18:36:00',0,"])), max_size=2),
    st.sampled_from([EVEN, Layout("apart", {"P": 4, "Q": 9}), Layout("at the end", {"P": 8, "E_net": 9})]),
)  # fmt: skip
@settings(max_examples=500)
def test_even_rows_are_read_as_they_are_row_by_row(
    rows: list[tuple[int, list[bytes]]], end: bytes, head: bytes, damage: list[tuple[int, bytes]], layout: Layout
) -> None:
    lines = [b"'2002-01-31 18:3%d:00',0,0,0,%s" % (minute, b",".join([*values, b"1", b"2"])) for minute, values in rows]
    text = head + end.join([*lines, b""])
    for position, put in damage:
        text = text[:position] + put + text[position + 1 :]
    assert by_columns(text, layout) == by_rows(text, layout)


NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(10**40), 10**40).map(str),
    st.from_regex(r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
)


@given(st.lists(NUMBERS, min_size=1, max_size=5))
@settings(max_examples=500)
def test_a_column_has_exactly_the_numbers_of_its_texts(texts: list[str]) -> None:
    layout = Layout.of("exact", P=4)
    text = "".join(f"'2002-01-31 18:3{n}:00',0,0,0,{text}\n" for n, text in enumerate(texts)).encode()
    assert by_columns(text, layout) == by_rows(text, layout)
    read = read_uniform_rows(text, layout, NOW)
    if read is not None:
        assert [reading.P for reading in read.readings] == list(map(float, texts))


@pytest.mark.parametrize(
    "layout",
    [
        VERIS,
        EVEN,
        Layout.of("last", P=75),
        Layout.of("beyond", P=76),
        Layout.of("far beyond", P=4, Q=77),
        Layout("nothing"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_good_rows_are_read_by_columns(layout: Layout, end: str) -> None:
    rows = [dict.fromkeys(range(4, 76), 0.5 + n) | {5: 0.5, 17: 0.5} for n in range(4)]
    text = end.join([*(log_row(T0 + 60 * n, values, columns=76) for n, values in enumerate(rows)), ""]).encode()
    even = read_uniform_rows(text, layout, NOW)
    assert (even is None) == (layout.name in ("beyond", "far beyond", "nothing"))
    assert by_columns(text, layout) == by_rows(text, layout)


def test_rows_with_empty_columns_are_read_by_columns() -> None:
    text = "".join(f"'2002-01-31 18:3{minute}:00',0,0,0,7.5,0.5,,\n" for minute in range(4)).encode()
    even = read_uniform_rows(text, EVEN, NOW)
    assert even is not None
    assert even.missing_values == 8
    assert by_columns(text, EVEN) == by_rows(text, EVEN)
    assert read_uniform_rows(text, Layout.of("empty", P=6, Q=7), NOW) is None
    assert by_columns(text, Layout.of("empty", P=6, Q=7)) == by_rows(text, Layout.of("empty", P=6, Q=7))


@pytest.mark.parametrize(
    "text",
    [
        # Line ends and times whose lengths compensate each other.
        b"'2002-01-31 18:30:00',0,0,0,1,'2002-01-31 18:31:00'\n0,0,0,1\n",
        b"'2002-01-31 18:30:00',0,0,0,1\n'2002-01-31 18:31:00',0,0,0,1,'2002-01-31 18:32:00',0,0\n0,1\n",
        b"'2002-01-31 18:30:00',0,0,0,1\n'2002-01-31 18:31:00',0,0\n,0,1\n",
        b"'2002-01-31 18:30:00',0,0,0,1\n\n",
        b"\n",
        b"time(utc)",
        b"time(\rutc),x\n'2002-01-31 18:30:00',0,0,0,1\n",
    ],
)
def test_rows_that_only_count_as_even(text: bytes) -> None:
    layout = Layout.of("short", P=4)
    assert read_uniform_rows(text, layout, NOW) is None
    assert by_columns(text, layout) == by_rows(text, layout)


@given(st.binary(max_size=2000), st.integers(-1, 9))
@settings(max_examples=40)
def test_inflation_is_that_of_zlib(content: bytes, level: int) -> None:
    compressor = zlib.compressobj(level, zlib.DEFLATED, 31)
    packed = compressor.compress(content) + compressor.flush()
    prefix = (row("1,1,230,0") + "\n").encode()
    assert read(gz(prefix) + packed) == read(
        prefix + content if not content.startswith(b"\x1f\x8b") else gz(prefix + content)
    )


def test_rows_of_before_are_left_to_another_pass() -> None:
    text = "".join(row(f"{n},1,230,0", f"2002-01-31 18:{30 + n}:00") + "\n" for n in range(5)).encode()
    for content in (text, text + b"rubbish\n"):  # the fast path and the other
        steps = parse_log_steps(content, SMALL, earliest=T0 + 120, latest=NOW, max_inflated_bytes=1 << 20)
        later = finished(steps)
        assert ([reading.P for reading in later.readings], later.earlier) == ([2, 3, 4], 2)
        steps = parse_log_steps(content, SMALL, latest=T0 + 119, max_inflated_bytes=1 << 20)
        both = later.with_earlier(finished(steps))
        assert both.readings == read(content).readings
        assert (both.rows, both.readable_rows, both.skipped, both.earlier) == (later.rows, 5, later.skipped, 0)


def test_rows_without_a_known_column_are_counted_with_their_times() -> None:
    text = "".join(row(f"{n},1,230,0", f"2002-01-31 18:{30 + n}:00") + "\n" for n in range(5)).encode()
    log = read(text, Layout("no column known"))
    assert (log.skipped, log.empty_range) == ({"no_values": 5}, (T0, T0 + 240))
    left, count = log.without_skipped("no_values")
    assert (left.skipped, count) == ({}, 5)


def finished(steps: Generator[None, None, ParsedLog]) -> ParsedLog:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: ParsedLog = stop.value
            return result
