"""The command line as people and scripts use it: exit codes, one clear error line, real processes."""

from __future__ import annotations

import json
import os
import shlex
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from cenergyd.cli import COMMANDS, main
from tests import forking
from tests.databases import make_databases


def cenergyd(folder: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """A process of its own."""
    return forking.run(
        [sys.executable, "-m", "cenergyd", *words], input=stdin, capture_output=True, text=True, cwd=folder,
        timeout=120, env=dict(os.environ), check=False,
    )  # fmt: skip


class InProcessCommand:
    """The same without a process, for command lines that end before the reactor would start."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *words: str) -> tuple[int, str, str]:
        self._monkeypatch.setattr(sys, "argv", ["cenergyd", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = self._capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, said.out, said.err


@pytest.fixture
def in_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> InProcessCommand:
    monkeypatch.chdir(tmp_path)
    return InProcessCommand(monkeypatch, capsys)


@pytest.fixture
def databases(tmp_path: Path) -> None:
    """What a daemon with default settings made here."""
    make_databases(tmp_path / "var")


def quick(*words: str) -> tuple[str, ...]:
    """Cheap hashes."""
    return ("--set", "credentials.hash_memory_kib=64", "--set", "credentials.hash_iterations=1", *words)


def test_help_names_every_command(tmp_path: Path) -> None:
    result = cenergyd(tmp_path, "--help")
    assert result.returncode == 0
    for command in COMMANDS:
        assert f"\n  {command} " in result.stdout


@pytest.mark.parametrize("command", [*COMMANDS, "customers add", "customers set"])
def test_each_command_has_help(tmp_path: Path, in_process: InProcessCommand, command: str) -> None:
    code, said, _ = in_process(*command.split(), "--help")
    assert code == 0
    assert f"Usage: cenergyd {command}" in said
    assert list(tmp_path.iterdir()) == [], "help touches nothing"


def test_the_installed_script_is_the_same(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("cenergyd")
    result = subprocess.run(
        [script, "--version"], capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False
    )
    assert result.returncode == 0
    assert "cenergyd" in result.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nothing",), "No such command 'nothing'"),
        (("run", "--port", "x"), "'x' is not a valid integer range"),
        (("--set", "nonsense", "check"), "SECTION.KEY=VALUE is needed"),
        (("--config", "gone.ini", "check"), "gone.ini: cannot read the settings: No such file or directory"),
        (("check", "--set", "server.listn=x"), "[server] listn: no such setting; did you mean listen?"),
        (("backfill", "x", "--from", "yesterday"), "'yesterday' is not a time"),
        (("backfill", "x", "--from", "1d", "--to", "2d"), "is not after --from"),
        (("simulate", "--faults", "many"), "'many' is not a fault"),
        (("simulate", "--sites", "0"), "0 is not in the range"),
        (("simulate",), "simulator.password does not exist: give --password-file, or --register"),
        (("customers", "add", "--name", "A"), "give the logger's password"),
        (("customers", "add", "--no-password", "--facility", "300"), "--facility: "),
        (("customers", "add", "--no-password", "--time-zone", "Mars"), "--time-zone: an IANA"),
        (("customers", "add", "--no-password", "--place", "95,0"), "--place: latitude: degrees from -90 to 90"),
        (("customers", "add", "--password", "hunter2"), "No such option"),
        (("customers", "set", "x"), "nothing to change"),
        (("replay", "gone"), "does not exist"),
        (("plugins", "--set", "plugins.disabled=solr"), "there is no plugin solr; did you mean solar?"),
    ],
)
def test_a_wrong_command_line_is_2_and_says_what(
    in_process: InProcessCommand, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    code, out, complaint = in_process(*words)
    assert code == 2
    assert said in complaint
    assert out == ""


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("server.listen=carrier-pigeon:1", "[server] listen: cannot listen on carrier-pigeon:1"),
        ("server.listen=tcp:1:interface=192.0.2.1", "[server] listen: cannot listen on tcp:1:interface=192.0.2.1"),
    ],
)
def test_a_daemon_that_cannot_listen_ends_with_2_and_says_why(tmp_path: Path, pair: str, said: str) -> None:
    result = cenergyd(tmp_path, "run", "--set", pair)
    assert result.returncode == 2, result.stderr
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_check_shows_a_wrong_ini_by_file_section_key_and_what_would_be_right(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "cenergyd.ini").write_text("[server]\nmax_connections = lots\n[derivation]\nformula = guess\n")
    result = cenergyd(tmp_path, "check")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "cenergyd: etc/cenergyd.ini: [server] max_connections = 'lots': a whole number from 10 to 100000 is needed "
        "(default: '4000')",
        "cenergyd: etc/cenergyd.ini: [derivation] formula = 'guess': one of physical, literal is needed "
        "(default: 'physical')",
    ]


def test_check_reports_and_tests_the_stores(tmp_path: Path) -> None:
    words = ("check", "--state", "here", "--set", "layout:mine.device_classes=99", "--set", "layout:mine.P=4")
    before = cenergyd(tmp_path, *words)
    assert before.returncode == 0, before.stderr
    assert before.stdout.count("does not exist yet: 'cenergyd run' creates it") == 2
    assert list(tmp_path.iterdir()) == []
    make_databases(tmp_path / "here")
    result = cenergyd(tmp_path, *words)
    assert result.returncode == 0, result.stderr
    assert "layout     mine for 99" in result.stdout
    assert result.stdout.count("the store answers") == 2


@pytest.mark.usefixtures("databases")
def test_check_says_which_store_does_not_answer_and_hides_its_password(tmp_path: Path) -> None:
    result = cenergyd(
        tmp_path, "check", "--set", "readings.url=influxdb://me:hunter2@127.0.0.1:1/x",
        "--set", "readings.timeout_seconds=1",
    )  # fmt: skip
    assert result.returncode == 1
    assert "influxdb://me:***@127.0.0.1:1/x" in result.stdout
    assert "hunter2" not in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


def test_check_shows_whether_the_archive_can_be_written(tmp_path: Path) -> None:
    words = ("check", "--state", "here", "--set", "archive.days=30")
    before = cenergyd(tmp_path, *words)
    assert before.returncode == 0, before.stderr
    assert "here/archive, 30 days, 20 GB at most\n           does not exist yet" in before.stdout
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "here" / "archive").mkdir(parents=True)
    result = cenergyd(tmp_path, *words)
    assert result.returncode == 0, result.stderr
    assert "it can be written" in result.stdout
    assert list((tmp_path / "here" / "archive").iterdir()) == []
    (tmp_path / "here" / "archive").rmdir()
    (tmp_path / "here" / "archive").write_text("a file where the folder should be")
    result = cenergyd(tmp_path, *words)
    assert result.returncode == 1
    assert "[archive] folder:" in result.stderr
    assert "cannot be written" in result.stderr


def test_check_offline_uses_no_store(in_process: InProcessCommand) -> None:
    assert in_process("check", "--offline", "--set", "readings.url=influxdb://h:1/x")[0] == 0


def test_print_defaults_is_the_shipped_file(in_process: InProcessCommand) -> None:
    assert (
        in_process("check", "--print-defaults")[1] == (Path(__file__).parents[2] / "etc" / "cenergyd.ini").read_text()
    )


def test_plugins_lists_the_built_in_ones(in_process: InProcessCommand) -> None:
    code, said, _ = in_process("plugins", "--json", "--set", "plugins.disabled=solar")
    assert code == 0
    found = {one["name"]: one for one in map(json.loads, said.splitlines())}
    assert {"solar", "load", "utility"} <= found.keys()
    assert found["load"]["hooks"] == ["cenergyd_derive"]
    assert found["solar"]["state"] == "disabled"


@pytest.mark.usefixtures("databases")
def test_a_customer_is_added_changed_and_removed(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("hunter2\n")
    added = cenergyd(
        tmp_path, *quick("customers", "add", "--name", "Café", "--facility", "001", "--solar", "2"),
        "--serial", "00:1e:c6:00:14:33", "--time-zone", "America/Denver", "--password-file", "pw",
        "--place", "39.7392,-104.9903",
    )  # fmt: skip
    assert added.returncode == 0, added.stderr
    shown = json.loads(cenergyd(tmp_path, "customers", "show", "001EC6001433", "--json").stdout)
    assert shown == {
        "id": added.stdout.strip(), "name": "Café", "time_zone": "America/Denver", "facility": "1", "load": "",
        "place": "39.7392,-104.9903", "solar": "2", "logger_serial_number": "001EC6001433", "logger_password_set": True, "computed": "load",
        "derivation_plugin": "", "problems": [],
    }  # fmt: skip
    again = cenergyd(tmp_path, "customers", "add", "--serial", "001EC6001433", "--no-password")
    assert again.returncode == 2
    assert "already belongs to another customer" in again.stderr
    changed = cenergyd(
        tmp_path, *quick("customers", "set", shown["id"], "--load", "3", "--password-stdin"), stdin="new\n"
    )
    assert changed.returncode == 0, changed.stderr
    listed = cenergyd(tmp_path, "customers", "list", "--search", "caf")
    assert listed.stdout == f"{shown['id']}\t001EC6001433\t-\tCafé\n"
    everything = b"".join(path.read_bytes() for path in (tmp_path / "var").iterdir())
    assert b"hunter2" not in everything
    assert cenergyd(tmp_path, "customers", "remove", shown["id"], "--yes").returncode == 0
    gone = cenergyd(tmp_path, "customers", "show", shown["id"])
    assert gone.returncode == 1
    assert "\ncenergyd: there is no customer with the id" in gone.stderr


@pytest.mark.usefixtures("databases")
def test_problems_of_a_customer_are_reported(tmp_path: Path) -> None:
    result = cenergyd(tmp_path, "customers", "add", "--no-password", "--facility", "1")
    assert result.returncode == 0
    assert "note: load: two of the three meters are needed" in result.stderr
    assert "note: logger_password: no logger password is set" in result.stderr


def test_settings_options_work_before_and_after_the_command(tmp_path: Path) -> None:
    for words in (
        ("--state", "a", "customers", "list"),
        ("customers", "--state", "b", "list"),
        ("customers", "list", "--state", "c"),
    ):
        folder = next(word for word in words if len(word) == 1)
        make_databases(tmp_path / folder)
        done = cenergyd(tmp_path, *words)
        assert done.returncode == 0
        assert f"{tmp_path}/{folder}/customers.sqlite" in done.stderr


@pytest.mark.usefixtures("databases")
def test_backfill_of_a_customer_without_a_missing_meter_says_so(tmp_path: Path) -> None:
    cenergyd(tmp_path, "customers", "add", "--no-password", "--serial", "00AA", "--facility", "1")
    result = cenergyd(tmp_path, "backfill", "00AA", "--from", "1d")
    assert result.returncode == 1
    assert "nothing is computed for this customer" in result.stderr


@pytest.mark.usefixtures("databases")
def test_migrate_of_the_embedded_store(tmp_path: Path) -> None:
    result = cenergyd(tmp_path, "migrate", "--dry-run")
    assert result.returncode == 0
    assert "up to date" in result.stdout


def test_a_closed_output_pipe_is_no_error(tmp_path: Path) -> None:
    command = f"{shlex.quote(sys.executable)} -m cenergyd check --print-defaults | head -1"
    result = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False
    )
    assert result.stdout.startswith("# Settings of cenergyd")
    assert result.stderr == ""


@pytest.mark.usefixtures("databases")
def test_a_change_of_meters_has_the_stored_readings_derived_anew(tmp_path: Path) -> None:
    added = cenergyd(tmp_path, "customers", "add", "--no-password", "--serial", "A1", "--facility", "1", "--solar", "2")
    assert added.returncode == 0, added.stderr
    write = (
        "import sys; from twisted.internet import reactor; from twisted.internet.task import react\n"
        "from pathlib import Path; from twisted.internet.defer import Deferred\n"
        "from cenergyd.readings.model import Reading, SeriesReadings; from cenergyd.storage.sqlite.readings import SqliteReadingStore\n"
        "async def work(reactor):\n"
        "    store = SqliteReadingStore(reactor, Path(sys.argv[1])); await store.open()\n"
        "    await store.write([SeriesReadings('A1_3', [Reading(1750000000, P=1.0)])]); await store.close()\n"
        "react(lambda reactor: Deferred.fromCoroutine(work(reactor)))\n"
    )
    forking.run([sys.executable, "-c", write, "var/readings.sqlite"], cwd=tmp_path, check=True, timeout=120)
    changed = cenergyd(tmp_path, "customers", "set", "A1", "--solar", "3")
    assert changed.returncode == 0, changed.stderr
    with closing(sqlite3.connect(tmp_path / "var" / "customers.sqlite")) as database:
        assert database.execute("SELECT solar, pending_start FROM customer").fetchall() == [("3", 1750000000)]
    summed = cenergyd(tmp_path, "customers", "set", "A1", "--solar", "03+4*2", "--from", "2025-06-16")
    assert summed.returncode == 0, summed.stderr
    with closing(sqlite3.connect(tmp_path / "var" / "customers.sqlite")) as database:
        ((solar, extensions),) = database.execute("SELECT solar, extensions FROM customer").fetchall()
    assert solar == "3+4*2"
    (entry,) = json.loads(extensions)["history"]
    assert (entry["until"], entry["solar"]) == (1750032000, "3")
    wrong = cenergyd(tmp_path, "customers", "set", "A1", "--solar", "3+")
    assert wrong.returncode == 2
    assert "a sum of meters such as 1+4" in wrong.stderr
    dated = cenergyd(tmp_path, "customers", "set", "A1", "--name", "x", "--from", "2025-06-16")
    assert dated.returncode == 2


@pytest.mark.usefixtures("databases")
def test_a_customers_derivation_plugin(tmp_path: Path) -> None:
    def shown() -> str:
        done = cenergyd(tmp_path, *quick("customers", "show", "--json"), "001EC6001434")
        return str(json.loads(done.stdout)["derivation_plugin"])

    words = quick("customers", "add", "--name", "x", "--serial", "001EC6001434", "--no-password")
    assert cenergyd(tmp_path, *words, "--derivation-plugin", "solar").returncode == 0
    assert shown() == "solar"
    refused = cenergyd(tmp_path, *quick("customers", "set"), "001EC6001434", "--derivation-plugin", "rollups")
    assert refused.returncode
    assert "no such plugin; there are load, solar, utility" in refused.stderr
    assert cenergyd(tmp_path, *quick("customers", "set"), "001EC6001434", "--derivation-plugin", "").returncode == 0
    assert shown() == ""


@pytest.mark.parametrize("words", [("customers", "list"), ("token", "list"), ("backup", "copy")])
def test_a_command_makes_no_databases(tmp_path: Path, words: tuple[str, ...]) -> None:
    """So that one that is called in another folder does not work on an empty store."""
    done = cenergyd(tmp_path, *words)
    assert done.returncode == 1
    assert f"there is no database {tmp_path}/var/customers.sqlite; 'cenergyd run' creates it" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("databases")
def test_a_command_says_which_store_it_uses(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    done = cenergyd(folder, "customers", "list", "--set", f"state.folder={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert f"stores: sqlite:///{tmp_path}/var/customers.sqlite" in done.stderr
    assert list(folder.iterdir()) == []
