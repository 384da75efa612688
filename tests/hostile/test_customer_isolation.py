"""A customer who tries to get another customer's readings, by every route that takes a serial number, a series, a time or an id, on both pairs of stores.

The owner's powers are unique numbers: after every attempt, nothing that the thief can read may contain one of them, and the owner's stored readings,
measured and computed, must be unchanged.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import pytest

from cenergyd.acquisuite import encode
from cenergyd.acquisuite.layouts import VERIS
from cenergyd.readings.model import Reading
from tests.daemon_process import RunningDaemon
from tests.e2e.device import PASSWORD, acknowledged, raw_post, upload
from tests.e2e.stored import derived, stored
from tests.servers import PATIENT

OWNERS, OWN, SOLD, UNKNOWN = "001EC6710001", "001EC6710002", "001EC6710003", "001EC671FFFF"
LOAD, SOLAR = 731.625, 218.5
MARKS = ("731.6", "218.5", "513.1", "950.1")
"""The first digits of the owner's powers, of their difference and of their sum; none is a whole number, as times may be."""
ROWS = 30
START = int(time.time()) // 3600 * 3600 - 7200
OTHER_PASSWORD = "the owner's own"


def rows(start: int, power: float, count: int = ROWS) -> list[Reading]:
    return [Reading(start + 60 * minute, power, 0.9, 120.0, 1.0) for minute in range(count)]


class Person(NamedTuple):
    """A client with a token."""

    daemon: RunningDaemon
    token: str
    customer: str

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, str]:
        """Status and text of a response; of an event stream its beginning."""
        link = http.client.HTTPConnection("127.0.0.1", self.daemon.port, timeout=120)
        head = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json", "If-Match": "*", **headers}
        target = path if path.startswith("/settings") else f"/api/v1{path}"
        try:
            link.request(method, target, None if body is None else json.dumps(body), head)
            answer = link.getresponse()
            if answer.getheader("Content-Type", "").startswith("text/event-stream"):
                found = b""
                while b"event: status" not in found or not found.endswith(b"\n\n"):
                    found += answer.read1(65536)
                return answer.status, found.decode()
            return answer.status, answer.read().decode()
        finally:
            link.close()

    @property
    def path(self) -> str:
        return f"/customers/{self.customer}"


class SharedDaemon(NamedTuple):
    """A daemon with an owner, a thief, and an operator."""

    daemon: RunningDaemon
    operator: Person
    owner: Person
    thief: Person
    paths: Mapping[str, Any]
    """The paths of the OpenAPI document."""

    def seen_by(self, person: Person, serial: str) -> dict[str, str]:
        """All responses that a customer gets to GETs of the API and pages, including requests for a logger's series."""
        found = {}
        for path, methods in self.paths.items():
            if "get" not in methods or path == "/openapi.json":
                continue
            target = path.replace("{customer_id}", person.customer).replace("{serial}", serial)
            names = [each["name"] for each in methods["get"].get("parameters", ()) if each.get("in") == "query"]
            for query in self._queries(names, serial):
                found[f"{target}?{query}"] = person.ask("GET", f"{target}?{query}")[1]
        for page in ("power", "energy", "settings", "meters", "corrections", "doctor", "alerts", "charges"):
            found[page] = self._page(person, page)
        return found

    def _queries(self, names: list[str], serial: str) -> Iterator[str]:
        whole = {"start": str(START - 86400), "end": str(START + 86400)}
        if "step" in names:
            days = {"start": time.strftime("%Y-%m-%d", time.gmtime(START - 86400)), "end": time.strftime("%Y-%m-%d", time.gmtime(START + 2 * 86400))}  # fmt: skip
            yield from (urlencode({**days, "step": step}) for step in ("day", "hour"))
            return
        given = {name: value for name, value in whole.items() if name in names}
        if "role" in names and "series" not in names:
            yield from (
                urlencode({**given, "role": role, "resolution": size})
                for role in ("load", "solar", "utility")
                for size in ("15m", "1h", "24h", "1m")
            )
            return
        yield urlencode(given)
        if "series" in names:
            for series in (
                f"{serial}_1",
                f"{serial}_2",
                f"{serial}_missing_meter",
                f"{serial.lower()}_1",
                f"{serial}_1_15m",
            ):
                for more in ({"resolution": "raw"}, {"resolution": "3600"}, {"resolution": "raw", "original": "1"}):
                    yield urlencode({**given, **more, "series": series})

    def _page(self, person: Person, name: str) -> str:
        link = http.client.HTTPConnection("127.0.0.1", self.daemon.port, timeout=120)
        query = urlencode({"start": START - 3600, "end": START + 7200, "table": 1})
        try:
            link.request("GET", f"{person.path}/{name}?{query}", headers={"Authorization": f"Bearer {person.token}"})
            return link.getresponse().read().decode()
        finally:
            link.close()

    def settled(self) -> None:
        """Wait until nothing is pending."""
        _, waiting = stored(self.daemon, [f"{OWN}_1"], {f"{OWN}_1": 0}, 120)
        assert waiting == 0, "customers still wait for derivation"

    def nothing_taken(self, what: str = "") -> None:
        """The thief sees nothing of the owner's, and the owner's readings are unchanged."""
        self.settled()
        for asked, answer in self.seen_by(self.thief, OWNERS).items():
            assert not any(mark in answer for mark in MARKS), (what, asked, answer[:2000])
            assert "Owner's site" not in answer, (what, asked)
        names = [f"{OWNERS}_1", f"{OWNERS}_2", f"{OWNERS}_missing_meter"]
        found, _ = stored(self.daemon, names)
        assert [[row.P for row in found[name]] for name in names] == [
            [LOAD] * ROWS,
            [SOLAR] * ROWS,
            [LOAD - SOLAR] * ROWS,
        ]


def add(daemon: RunningDaemon, operator: str, name: str, serial: str, password: str) -> Person:
    asking = Person(daemon, operator, "")
    made = {"name": name, "logger_serial_number": serial, "logger_password": password, "load": "1", "solar": "2"}
    status, answer = asking.ask("POST", "/customers", made)
    assert status == 201, answer
    customer = json.loads(answer)["id"]
    status, token = asking.ask("POST", "/tokens", {"role": "customer", "name": name[:20], "customer_id": customer})
    assert status == 201, token
    return Person(daemon, json.loads(token)["token"], customer)


@pytest.fixture(scope="module", params=["embedded", "production"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedDaemon]:
    folder = tmp_path_factory.mktemp("theft")
    settings = PATIENT | {"credentials.max_failures": "1000", "credentials.max_failures_per_address": "1000"}
    settings["cenergyd.ingest.logger_proof._WRONG"] = "10000"
    if request.param == "production":
        name = f"theft_{folder.name}".replace("-", "_")
        settings["customers.url"] = f"{request.getfixturevalue('mongo').url}/{name}"
        settings["readings.url"] = f"{request.getfixturevalue('influx').url}/{name}"
    daemon = RunningDaemon(folder, settings)
    daemon.start()
    try:
        token = daemon.run("token", "add", "--operator", "operator").stdout.strip()
        owner = add(daemon, token, "Owner's site", OWNERS, OTHER_PASSWORD)
        thief = add(daemon, token, "Thief", OWN, PASSWORD)
        for meter, power in (("1", LOAD), ("2", SOLAR)):
            assert acknowledged(upload(daemon, OWNERS, meter, rows(START, power), password=OTHER_PASSWORD))
            assert acknowledged(upload(daemon, OWN, meter, rows(START, 1.0)))
        derived(daemon, {f"{OWNERS}_missing_meter": ROWS, f"{OWN}_missing_meter": ROWS})
        paths = json.loads(daemon.get("/api/v1/openapi.json")[1])["paths"]
        yield SharedDaemon(daemon, Person(daemon, token, ""), owner, thief, paths)
        assert "Traceback" not in daemon.log()
    finally:
        daemon.kill()


SPELLINGS = (
    OWNERS, OWNERS.lower(), f" {OWNERS} ", "00:1e:c6:71:00:01", "00-1E-C6-71-00-01", f"{OWNERS}\0", f"{OWNERS}\n", "\uff10\uff101EC6710001", f"{OWNERS}_1",
    f"{OWN}/../{OWNERS}", f"{OWNERS}%00", f"{OWNERS};", f"\u200b{OWNERS}",
)  # fmt: skip


def changes(person: Person, body: dict[str, object]) -> Iterator[tuple[int, str]]:
    """Every way to change settings."""
    patch = "application/merge-patch+json"
    yield person.ask("PATCH", person.path, body, **{"Content-Type": patch})
    yield person.ask("PATCH", f"{person.path}/settings", body, **{"Content-Type": patch})
    yield person.ask("PUT", person.path, {"load": "1", "solar": "2", **body})
    yield person.ask("PUT", f"{person.path}/settings", {"load": "1", "solar": "2", **body})
    yield person.ask(
        "POST", f"{person.path}/meters", {key: value for key, value in body.items() if key != "logger_password"}
    )
    yield person.ask(
        "POST",
        f"{person.path}/meters",
        {**{key: value for key, value in body.items() if key != "logger_password"}, "effective_from": 0},
    )
    yield person.ask("POST", "/settings", body)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_nobody_names_a_logger_that_is_not_theirs(shared: SharedDaemon, spelling: str) -> None:
    """In any spelling, with or without a password; a logger that belongs to nobody gets the same response."""
    for password in ({}, {"logger_password": OTHER_PASSWORD}, {"logger_password": PASSWORD}):
        answers = list(changes(shared.thief, {"logger_serial_number": spelling, **password}))
        assert {status for status, _ in answers} <= {403, 422}, answers
    reported = [answer for _, answer in changes(shared.thief, {"logger_serial_number": OWNERS})]
    assert reported == [answer for _, answer in changes(shared.thief, {"logger_serial_number": UNKNOWN})]
    assert json.loads(shared.thief.ask("GET", shared.thief.path)[1])["logger_serial_number"] == OWN
    if spelling == OWNERS.lower():
        shared.nothing_taken()


def by_extensions(shared: SharedDaemon) -> Iterator[tuple[int, str]]:
    for name, value in (
        ("extensions", {"loggers": [{"serial": OWNERS, "since": 0}]}),
        ("extensions", {"released": [OWNERS]}),
        (
            "extensions",
            {"history": [{"until": START + 86400, "logger_serial_number": OWNERS, "load": "1", "solar": "2"}]},
        ),
        ("loggers", [{"serial": OWNERS, "since": 0}]),
        ("released_loggers", [OWNERS]),
        ("history", [{"until": START + 86400, "logger_serial_number": OWNERS}]),
    ):
        yield from changes(shared.thief, {name: value})
    yield shared.thief.ask("PATCH", f"{shared.thief.path}/operator", {"released_loggers": [OWNERS]})


def by_meter_ids(shared: SharedDaemon) -> Iterator[tuple[int, str]]:
    """Meters, and sums of meters, of another logger."""
    for meter in (
        f"{OWNERS}_1", f"1/../{OWNERS}_1", f"../{OWNERS}_1", f"1+{OWNERS}_1", "1_15m", "missing_meter", f"1*{OWNERS}", f"1'; SELECT * FROM {OWNERS}_1; --",
        f'1","{OWNERS}_1', "1\n2", "_1", "1 + 2\0",
    ):  # fmt: skip
        yield from changes(shared.thief, {"load": meter})


def by_layouts(shared: SharedDaemon) -> Iterator[tuple[int, str]]:
    for name in (f"{OWNERS}_1", f"1/{OWNERS}_1"):
        yield shared.thief.ask("POST", f"{shared.thief.path}/meters", {"layouts": {name: {"P": 14}}})
    yield shared.thief.ask("POST", f"{shared.thief.path}/held-meters/{OWNERS}_1", {"columns": {"P": 14}})
    yield shared.thief.ask("POST", f"{shared.owner.path}/held-meters/1", {"columns": {"P": 14}})


def by_corrections(shared: SharedDaemon) -> Iterator[tuple[int, str]]:
    whole = {"meter": "1", "start": START - 3600, "end": START + 7200, "reason": "mine"}
    for kind in ({"kind": "void"}, {"kind": "scale", "factor": 2.0}, {"kind": "shift", "seconds": 60}):
        for serial in (OWNERS, OWNERS.lower(), f"{OWNERS}_1"):
            yield shared.thief.ask(
                "POST", f"{shared.thief.path}/corrections", {**whole, **kind, "logger_serial_number": serial}
            )
        yield shared.thief.ask("POST", f"{shared.owner.path}/corrections", {**whole, **kind})
        yield shared.thief.ask("POST", f"{shared.thief.path}/corrections", {**whole, **kind, "meter": f"{OWNERS}_1"})
    yield shared.thief.ask("DELETE", f"{shared.thief.path}/corrections/{OWNERS}_1.1")


def by_others_ids(shared: SharedDaemon) -> Iterator[tuple[int, str]]:
    """Every route, with the owner's id instead of the thief's, also in other encodings."""
    for path, methods in shared.paths.items():
        if "{customer_id}" not in path and "{serial}" not in path:
            continue
        for method in methods:
            for customer in (
                shared.owner.customer,
                f"{shared.thief.customer}/../{shared.owner.customer}",
                f"{shared.owner.customer}%00",
            ):
                target = path.replace(
                    "{customer_id}", customer if "/" in customer or "%" in customer else quote(customer)
                )
                target = (
                    target.replace("{serial}", OWNERS)
                    .replace("{meter}", "1")
                    .replace("{correction_id}", f"{OWNERS}_1.1")
                )
                query = urlencode({"start": START, "end": START + 7200, "role": "load"})
                yield shared.thief.ask(
                    method.upper(), f"{target}?{query}", {} if method in ("post", "put", "patch") else None
                )


def by_tokens(shared: SharedDaemon) -> Iterator[tuple[int, str]]:
    yield shared.thief.ask("POST", "/tokens", {"role": "operator", "name": "x"})
    yield shared.thief.ask("POST", "/tokens", {"role": "customer", "name": "x", "customer_id": shared.owner.customer})
    yield shared.thief.ask("GET", f"/tokens?customer_id={shared.owner.customer}")
    yield shared.thief.ask("POST", "/customers", {"logger_serial_number": OWNERS})
    yield shared.thief.ask("GET", "/overview")
    yield shared.thief.ask("GET", "/rejected")
    yield shared.thief.ask("GET", "/loggers")


def by_backfill(shared: SharedDaemon) -> Iterator[tuple[int, str]]:
    yield shared.thief.ask("POST", f"{shared.thief.path}/backfill", {"start": 0})
    yield shared.thief.ask("POST", f"{shared.owner.path}/backfill", {"start": 0})


ATTEMPTS: dict[str, Callable[[SharedDaemon], Iterator[tuple[int, str]]]] = {
    "extensions": by_extensions, "meter ids": by_meter_ids, "layouts": by_layouts, "corrections": by_corrections, "others' ids": by_others_ids,
    "tokens": by_tokens, "backfill": by_backfill,
}  # fmt: skip


@pytest.mark.parametrize("name", ATTEMPTS)
def test_every_other_route_is_closed(shared: SharedDaemon, name: str) -> None:
    for status, answer in ATTEMPTS[name](shared):
        assert 400 <= status < 500, (name, status, answer[:500])
    shared.nothing_taken(name)


def envelope(serial: str, password: str, second: str = "", second_password: str = "") -> dict[str, bytes]:
    """Uploads that name two loggers, of which the sender knows one password: kind -> whole body."""
    content = encode.gz(encode.log_text(rows(START, 1.0), VERIS))
    fields = encode.log_fields(serial, password, "1", content)
    kind, body = encode.multipart_form(fields, encode.log_filename("1"), content)
    boundary = kind.partition("boundary=")[2].encode()

    def part(name: str, value: str) -> bytes:
        return b"--" + boundary + f'\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()

    more = part("SERIALNUMBER", second) + (part("PASSWORD", second_password) if second_password else b"")
    head, end = body[: body.rindex(b"--" + boundary + b"--")], body[body.rindex(b"--" + boundary + b"--") :]
    return {
        f"{kind}|after": head + more + end,
        f"{kind}|before": more + body,
        f"{kind}|lower": more.replace(b"SERIAL", b"serial") + body,
    }


def test_an_upload_names_one_logger(shared: SharedDaemon) -> None:
    """Two serial numbers in one upload, by form, Basic, XML head and body: the readings never go to the one without a right password."""
    refused = []
    for first, second in ((OWN, OWNERS), (OWNERS, OWN), (OWN, OWNERS.lower())):
        for name, body in envelope(first, PASSWORD, second).items():
            refused.append(raw_post(shared.daemon.port, "/consume", name.partition("|")[0], body))
    record = f"<record><time>{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(START))}</time><error>0</error>" + "".join(
        f'<point number="{number}" value="1"/>' for number in range(75)
    )
    device = f"<devices><device><address>1</address><records>{record}</record></records></device></devices>"
    for inner in (
        f"<serial>{OWN}</serial><password>{PASSWORD}</password><serial>{OWNERS}</serial>{device}",
        f"<serial>{OWN}</serial><password>{PASSWORD}</password>{device}<serial>{OWNERS}</serial>",
        f"<serial>{OWN}</serial><password>{PASSWORD}</password>{device.replace('<device>', f'<device><serial>{OWNERS}</serial>')}",
        f"<serialnumber>{OWNERS}</serialnumber><serial>{OWN}</serial><password>{PASSWORD}</password>{device}",
    ):
        body = f"<DAS><mode>LOGFILEUPLOAD</mode>{inner}</DAS>".encode()
        raw_post(shared.daemon.port, "/consume", "text/xml", body)
    assert {status for status, _ in refused} <= {401, 406}, refused
    shared.nothing_taken("two serial numbers")


def test_claims_by_password_prove_nothing_of_an_owned_logger(shared: SharedDaemon) -> None:
    """The thief has a logger of his own upload under the owner's serial number, and then claims it by that password."""
    for _ in range(3):
        assert upload(shared.daemon, OWNERS, "1", rows(START, 1.0), password="made up")[0] == 401
    for _ in range(5):
        body = {"logger_serial_number": OWNERS, "logger_password": "made up"}
        assert {status for status, _ in changes(shared.thief, body)} <= {403, 429}
    shared.nothing_taken("claimed")


def test_a_logger_that_was_another_customers(shared: SharedDaemon) -> None:
    """A logger is sold: the former holder keeps their readings and gets no others; the next one gets none from before; and it may be sold back.

    The seller's powers are the owner's marks; the buyer is the thief, to whom the operator has released the logger.
    """
    seller = add(shared.daemon, shared.operator.token, "Seller", SOLD, OTHER_PASSWORD)
    for meter, power in (("1", LOAD), ("2", SOLAR)):
        assert acknowledged(upload(shared.daemon, SOLD, meter, rows(START, power), password=OTHER_PASSWORD))
    derived(shared.daemon, {f"{SOLD}_missing_meter": ROWS})
    status, answer = shared.operator.ask("PATCH", seller.path, {"logger_serial_number": ""})
    assert status == 200, answer
    status, answer = shared.operator.ask("PATCH", f"{shared.thief.path}/operator", {"released_loggers": [SOLD]})
    assert status == 200, answer
    status, answer = shared.thief.ask(
        "POST", f"{shared.thief.path}/meters", {"logger_serial_number": SOLD, "effective_from": 0}
    )
    assert status == 200, answer
    unseen(shared, shared.thief, "just bought")
    # Rows of the seller's time, from the buyer: nobody may change those.
    assert upload(shared.daemon, SOLD, "1", rows(START, 1.0))[0] in (200, 406)
    for kind in ({"kind": "void"}, {"kind": "scale", "factor": 2.0}, {"kind": "shift", "seconds": 60}):
        wish = {"meter": "1", "start": START, "end": START + 600, "reason": "mine", **kind}
        assert shared.thief.ask("POST", f"{shared.thief.path}/corrections", wish)[0] == 422
    # The buyer's own readings, and what is computed of them.
    later = START + 60 * ROWS
    for meter, power in (("1", 3.0), ("2", 1.0)):
        assert acknowledged(upload(shared.daemon, SOLD, meter, rows(later, power, 5)))
    derived(shared.daemon, {f"{SOLD}_missing_meter": ROWS + 5})
    unseen(shared, shared.thief, "with readings of one's own")
    keeps(shared)
    # The buyer gives it up, and the seller has it again: nothing of the buyer's, who keeps what was theirs.
    status, answer = shared.thief.ask("POST", f"{shared.thief.path}/meters", {"logger_serial_number": OWN})
    assert status == 200, answer
    status, answer = seller.ask(
        "PATCH", seller.path, {"logger_serial_number": SOLD}, **{"Content-Type": "application/merge-patch+json"}
    )
    assert status == 200, answer
    assert upload(shared.daemon, SOLD, "1", rows(later, 9.0, 5), password=OTHER_PASSWORD)[0] in (200, 406)
    shared.settled()
    keeps(shared)
    series = {"start": later, "end": later + 3600, "series": f"{SOLD}_1", "resolution": "raw"}
    assert '"P":3.0' not in seller.ask("GET", f"{seller.path}/readings?{urlencode(series)}")[1].replace(" ", "")
    assert json.loads(seller.ask("GET", f"{seller.path}/latest")[1])["roles"]["load"] is None
    old = {"start": START, "end": START + 3600, "series": f"{SOLD}_1", "resolution": "raw"}
    assert str(LOAD) in seller.ask("GET", f"{seller.path}/readings?{urlencode(old)}")[1]
    unseen(shared, shared.thief, "sold again")
    shared.nothing_taken("sold again")


def unseen(shared: SharedDaemon, person: Person, what: str) -> None:
    """None of the seller's powers is in anything that the person can read."""
    shared.settled()
    for asked, answer in shared.seen_by(person, SOLD).items():
        assert not any(mark in answer for mark in MARKS), (what, asked, answer[:3000])


def keeps(shared: SharedDaemon) -> None:
    """The stored readings of both are those of their own time."""
    names = [f"{SOLD}_1", f"{SOLD}_2", f"{SOLD}_missing_meter"]
    found, _ = stored(shared.daemon, names)
    assert [[row.P for row in found[name]] for name in names] == [
        [LOAD] * ROWS + [3.0] * 5, [SOLAR] * ROWS + [1.0] * 5, [LOAD - SOLAR] * ROWS + [2.0] * 5,
    ]  # fmt: skip


def test_registering_a_serial_again_takes_nothing(shared: SharedDaemon) -> None:
    """An operator cannot give a logger to two customers, in any spelling; nor can a command."""
    for spelling in (OWNERS, OWNERS.lower(), "00:1e:c6:71:00:01"):
        made = {"name": "Second", "logger_serial_number": spelling, "logger_password": PASSWORD, "load": "1"}
        assert shared.operator.ask("POST", "/customers", made)[0] == 422
        assert shared.operator.ask("PATCH", shared.thief.path, {"logger_serial_number": spelling})[0] == 422
        reported = shared.daemon.run("customers", "add", "--name", "Second", "--serial", spelling, "--no-password")
        assert reported.returncode != 0
    assert upload(shared.daemon, OWNERS, "1", rows(START, 1.0), password=PASSWORD)[0] == 401
    shared.nothing_taken("registered again")
