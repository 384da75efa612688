"""``cenergyd readings``: an operator corrects a meter's readings on the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests import forking
from tests.commands.test_commands import cenergyd
from tests.databases import make_databases

_WRITE = """
import sys
from pathlib import Path
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from cenergyd.readings.model import Reading, SeriesReadings
from cenergyd.storage.sqlite.readings import SqliteReadingStore

async def work(reactor):
    store = SqliteReadingStore(reactor, Path(sys.argv[1]))
    await store.open()
    await store.write([SeriesReadings("A1_1", [Reading(1750003200 + 600 * k, P=1.5, L1_PF=0.9) for k in range(6)])])
    await store.close()

react(lambda reactor: Deferred.fromCoroutine(work(reactor)))
"""
RANGE = ("--from", "2025-06-15T16:10", "--to", "2025-06-15T16:30Z", "--reason", "the CT was open")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_databases(tmp_path / "var")
    added = cenergyd(tmp_path, "customers", "add", "--no-password", "--serial", "A1", "--facility", "1", "--solar", "2")
    assert added.returncode == 0, added.stderr
    forking.run([sys.executable, "-c", _WRITE, "var/readings.sqlite"], cwd=tmp_path, check=True, timeout=120)
    return tmp_path


def powers(folder: Path, *words: str) -> list[str]:
    shown = cenergyd(folder, "readings", "show", "A1", "1", "--from", "2025-06-15", "--to", "2025-06-17", *words)
    assert shown.returncode == 0, shown.stderr
    head, *rows = shown.stdout.splitlines()
    assert head == "time\tP\tL1_PF\tL1_V\tQ"
    return [row.split("\t")[1] for row in rows]


def test_a_correction_is_made_listed_and_undone(folder: Path) -> None:
    made = cenergyd(folder, "readings", "void", "A1", "1", *RANGE)
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith(
        "A1_1.1  void  2025-06-15 16:10:00Z to 2025-06-15 16:30:00Z  the CT was open  (by operator: "
    )
    assert powers(folder) == ["1.5"] * 4
    assert powers(folder, "--original") == ["1.5"] * 6
    assert (
        cenergyd(
            folder, "readings", "scale", "A1", "1", "--factor", "-2", "--from", "0001-01-01", *RANGE[2:]
        ).returncode
        == 2
    )
    scaled = cenergyd(folder, "readings", "scale", "A1", "1", "--factor", "-2", "--from", "2025-06-15", *RANGE[2:])
    assert scaled.returncode == 0, scaled.stderr
    assert powers(folder) == ["-3.0", "1.5", "1.5", "1.5"]

    undone = cenergyd(folder, "readings", "undo", "A1", "A1_1.1")
    assert undone.returncode == 0, undone.stderr
    assert ", undone by operator: " in undone.stdout
    assert powers(folder) == ["-3.0"] * 3 + ["1.5"] * 3
    listed = cenergyd(folder, "readings", "corrections", "A1", "--json").stdout.splitlines()
    assert [json.loads(line)["id"] for line in listed] == ["A1_1.2"]
    every = cenergyd(folder, "readings", "corrections", "A1", "--all").stdout.splitlines()
    assert len(every) == 2


def test_what_is_refused_says_why(folder: Path) -> None:
    again = cenergyd(folder, "readings", "undo", "A1", "A1_1.7")
    assert (again.returncode, again.stderr.splitlines()[-1]) == (1, "cenergyd: there is no such correction")
    shift = cenergyd(folder, "readings", "shift", "A1", "1", "--seconds", "600", *RANGE)
    assert shift.returncode == 1
    assert "void them first" in shift.stderr
    huge = cenergyd(folder, "readings", "scale", "A1", "1", "--factor", "nan", *RANGE)
    assert huge.returncode == 2
    assert "a factor from 1e-06 to 1e+06" in huge.stderr
    other = cenergyd(folder, "readings", "void", "A1", "2", *RANGE)
    assert (other.returncode, other.stderr.splitlines()[-1]) == (2, "cenergyd: meter 2 has stored no readings")
