"""Customers and settings over HTTP."""

from __future__ import annotations

import pytest
import pytest_twisted

from cenergyd.customers.place import Place
from cenergyd.jobs.site_state.sun import place_of
from tests.web.harness import WebSide

SERIAL = "001EC6001433"
FULL = {
    "name": "Château d'Eau",
    "time_zone": "America/Los_Angeles",
    "facility": "001",
    "load": "",
    "solar": "2",
    "logger_serial_number": "00:1e:c6:00:14:33",
    "logger_password": "s3cret & long",
}


@pytest_twisted.ensureDeferred
async def test_create_read_change_remove(web: WebSide) -> None:
    operator = web.operator
    made = await operator.post("customers", FULL)
    assert made.status == 201
    one = f"customers/{made.json['id']}"
    assert made.header("Location") == f"/api/v1/{one}"
    assert made.json == {
        "id": made.json["id"],
        "name": "Château d'Eau",
        "time_zone": "America/Los_Angeles",
        "facility": "1",
        "load": "",
        "solar": "2",
        "logger_serial_number": SERIAL,
        "latitude": None,
        "longitude": None,
        "logger_password_set": True,
        "missing_role": "load",
        "series": {"utility": f"{SERIAL}_1", "load": f"{SERIAL}_missing_meter", "solar": f"{SERIAL}_2"},
        "problems": [],
    }
    read = await operator.get(one)
    assert (read.json, read.etag) == (made.json, made.etag)
    changed = await operator.patch(one, {"load": "3"}, headers={"If-Match": read.etag})
    assert changed.status == 200
    assert changed.json == {**made.json, "load": "3", "missing_role": None, "series": {
        "utility": f"{SERIAL}_1", "load": f"{SERIAL}_3", "solar": f"{SERIAL}_2"}}  # fmt: skip
    assert changed.etag != read.etag
    removed = await operator.delete(one, headers={"If-Match": changed.etag})
    assert (removed.status, removed.content) == (204, b"")
    assert (await operator.get(one)).status == 404


@pytest_twisted.ensureDeferred
async def test_settings_have_exactly_their_fields_and_never_the_password(web: WebSide) -> None:
    made = await web.operator.post("customers", FULL)
    path = f"customers/{made.json['id']}/settings"
    read = await web.operator.get(path)
    assert set(read.json) == {
        "facility", "load", "solar", "logger_serial_number", "logger_password_set", "name", "time_zone",
        "latitude", "longitude",
    }  # fmt: skip
    stored = await web.customers.get(made.json["id"])
    assert stored.logger_password.startswith("$argon2id$")
    for answer in (made, read, await web.operator.get("customers"), await web.operator.get("overview")):
        assert b"s3cret" not in answer.content
        assert b"argon2" not in answer.content


@pytest_twisted.ensureDeferred
async def test_put_empties_what_is_not_sent_but_keeps_the_password(web: WebSide) -> None:
    made = await web.operator.post("customers", FULL)
    path = f"customers/{made.json['id']}/settings"
    put = await web.operator.put(path, {"facility": "9"}, headers={"If-Match": made.etag})
    assert put.json == {
        "facility": "9", "load": "", "solar": "", "logger_serial_number": "", "logger_password_set": True,
        "name": "", "time_zone": "UTC", "latitude": None, "longitude": None,
    }  # fmt: skip
    cleared = await web.operator.patch(path, {"logger_password": None}, headers={"If-Match": put.etag})
    assert cleared.json["logger_password_set"] is False


@pytest_twisted.ensureDeferred
async def test_where_the_site_is(web: WebSide) -> None:
    made = await web.operator.post("customers", {**FULL, "latitude": 39.7392, "longitude": -104.9903})
    assert (made.json["latitude"], made.json["longitude"]) == (39.7392, -104.9903)
    path = f"customers/{made.json['id']}/settings"
    moved = await web.operator.patch(path, {"latitude": 40}, headers={"If-Match": "*"})
    assert (moved.json["latitude"], moved.json["longitude"]) == (40.0, -104.9903)
    stored = await web.customers.get(made.json["id"])
    assert place_of(stored) == Place(40.0, -104.9903)
    for wrong in ({"latitude": 91}, {"longitude": "east"}, {"latitude": None}):
        answer = await web.operator.patch(path, wrong, headers={"If-Match": "*"})
        assert (answer.status, [each["field"] for each in answer.json["errors"]]) == (422, list(wrong))
    none = await web.operator.patch(path, {"latitude": None, "longitude": None}, headers={"If-Match": "*"})
    assert (none.json["latitude"], none.json["longitude"]) == (None, None)
    assert place_of(await web.customers.get(made.json["id"])) != Place(40.0, -104.9903)
    again = await web.operator.post("customers", {"name": "Without", "latitude": None, "longitude": None})
    assert again.status == 201


@pytest_twisted.ensureDeferred
async def test_two_editors(web: WebSide) -> None:
    made = await web.operator.post("customers", FULL)
    path = f"customers/{made.json['id']}/settings"
    first = await web.operator.patch(path, {"name": "first"}, headers={"If-Match": made.etag})
    assert first.status == 200
    for change in (web.operator.patch, web.operator.put):
        second = await change(path, {"name": "second"}, headers={"If-Match": made.etag})
        assert (second.status, second.json["code"]) == (412, "conflict")
    late = await web.operator.delete(f"customers/{made.json['id']}", headers={"If-Match": made.etag})
    assert late.status == 412
    assert (await web.operator.get(path)).json["name"] == "first"
    forced = await web.operator.patch(path, {"name": "forced"}, headers={"If-Match": "*"})
    assert forced.json["name"] == "forced"


@pytest_twisted.ensureDeferred
async def test_changes_need_if_match(web: WebSide) -> None:
    made = await web.operator.post("customers", FULL)
    one = f"customers/{made.json['id']}"
    for answer in (
        await web.operator.patch(one, {"name": "x"}),
        await web.operator.put(f"{one}/settings", {"name": "x"}),
        await web.operator.delete(one),
    ):
        assert (answer.status, answer.json["code"]) == (428, "if_match_needed")
    assert (await web.operator.get(one)).json["name"] == FULL["name"]


@pytest_twisted.ensureDeferred
async def test_not_modified(web: WebSide) -> None:
    made = await web.operator.post("customers", FULL)
    again = await web.operator.get(f"customers/{made.json['id']}", headers={"If-None-Match": made.etag})
    assert (again.status, again.content, again.etag) == (304, b"", made.etag)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("facility", "256"),
        ("load", "0"),
        ("solar", "missing_meter"),
        ("solar", 5),
        ("logger_serial_number", "not a serial"),
        ("logger_serial_number", "1_2"),
        ("logger_password", "line\nend"),
        ("name", "x" * 201),
        ("name", "nul\0"),
        ("name", {"$gt": ""}),
        ("time_zone", "Mars/Olympus"),
        ("time_zone", "../../etc/passwd"),
        ("pending_since", 0),
        ("extensions", {}),
    ],
)
@pytest_twisted.ensureDeferred
async def test_faults_name_the_field(web: WebSide, field: str, value: object) -> None:
    answer = await web.operator.post("customers", {"name": "ok", field: value})
    assert answer.status == 422
    assert answer.header("Content-Type") == "application/problem+json"
    assert [error["field"] for error in answer.json["errors"]] == [field]
    assert answer.json["status"] == 422
    assert await web.customers.count() == 0


@pytest_twisted.ensureDeferred
async def test_half_a_character_is_no_json(web: WebSide) -> None:
    answer = await web.operator.post("customers", {"name": "ok", "logger_password": "\ud800"})
    assert (answer.status, answer.json["code"]) == (400, "not_json")
    assert "an unpaired surrogate" in answer.json["detail"]
    assert await web.customers.count() == 0


@pytest_twisted.ensureDeferred
async def test_all_faults_at_once(web: WebSide) -> None:
    answer = await web.operator.post("customers", {"facility": "x", "time_zone": "y", "nonsense": 1})
    assert {error["field"] for error in answer.json["errors"]} == {"facility", "time_zone", "nonsense"}


@pytest_twisted.ensureDeferred
async def test_serial_taken_and_problems(web: WebSide) -> None:
    await web.operator.post("customers", FULL)
    taken = await web.operator.post("customers", {**FULL, "name": "second"})
    assert (taken.status, taken.json["errors"][0]["field"]) == (422, "logger_serial_number")
    twice = await web.operator.post("customers", {"facility": "1", "load": "1"})
    assert {(problem["field"], problem["code"]) for problem in twice.json["problems"]} == {
        ("logger_serial_number", "no_logger"),
        ("logger_password", "no_password"),
        ("facility", "same_meter"),
        ("load", "same_meter"),
    }
    empty = await web.operator.post("customers", {"facility": "1"})
    assert [p["field"] for p in empty.json["problems"] if p["code"] == "two_empty"] == ["load", "solar"]


@pytest_twisted.ensureDeferred
async def test_pages_and_search(web: WebSide) -> None:
    ids = [(await web.operator.post("customers", {"name": f"Site {n}"})).json["id"] for n in range(5)]
    seen: list[str] = []
    cursor = None
    while True:
        query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await web.operator.get("customers", params=query)).json
        assert len(page["customers"]) <= 2
        seen += [customer["id"] for customer in page["customers"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == sorted(ids)
    found = (await web.operator.get("customers", params={"search": "site 3"})).json["customers"]
    assert [customer["name"] for customer in found] == ["Site 3"]
    for query in ({"limit": "0"}, {"limit": "x"}, {"limit": "1001"}, {"search": "x" * 101}):
        answer = await web.operator.get("customers", params=query)
        assert (answer.status, answer.json["errors"][0]["field"]) == (422, next(iter(query)))


@pytest_twisted.ensureDeferred
async def test_changes_are_reported(web: WebSide) -> None:
    made = await web.operator.post("customers", FULL)
    one = f"customers/{made.json['id']}"
    changed = await web.operator.patch(one, {"logger_serial_number": "B2"}, headers={"If-Match": made.etag})
    await web.operator.delete(one, headers={"If-Match": changed.etag})
    serials = [
        (old.logger_serial_number if old else None, new.logger_serial_number if new else None)
        for old, new in web.changes
    ]
    assert serials == [(None, SERIAL), (SERIAL, "B2"), ("B2", None)]


@pytest.mark.parametrize(
    ("data", "media_type", "status", "code"),
    [
        (b"{", "application/json", 400, "not_json"),
        (b'{"name": "a", "name": "b"}', "application/json", 400, "not_json"),
        (b'{"name": NaN}', "application/json", 400, "not_json"),
        (b"\xff", "application/json", 400, "not_json"),
        (b"[" * 100_00, "application/json", 400, "not_json"),
        (b"[" * 40 + b"]" * 40, "application/json", 400, "not_json"),
        (b"", "application/json", 400, "not_json"),
        (b"[]", "application/json", 400, "not_an_object"),
        (b"name=a", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b"{}", None, 415, "unsupported_media_type"),
        (b'{"name":"' + b"x" * 70000 + b'"}', "application/json", 413, "too_large"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_bodies_that_are_none(web: WebSide, data: bytes, media_type: str | None, status: int, code: str) -> None:
    headers = {"Content-Type": media_type} if media_type else {}
    answer = await web.operator.call("POST", "customers", data=data, headers=headers)
    assert (answer.status, answer.json["code"]) == (status, code)


@pytest_twisted.ensureDeferred
async def test_wrong_methods_and_paths(web: WebSide) -> None:
    answer = await web.operator.call("DELETE", "customers")
    assert (answer.status, answer.header("Allow")) == (405, "GET, HEAD, POST")
    for path in ("nothing", "customers/", "customers//settings", "", "customers/a/b/c"):
        missing = await web.operator.get(path)
        assert (missing.status, missing.header("Content-Type")) == (404, "application/problem+json"), path
    for path in ("%ff", "customers/%ff%fe"):
        bad = await web.operator.get(path)
        assert (bad.status, bad.header("X-Content-Type-Options")) == (400, "nosniff"), path
    for host in ("x" * 64, "..", "\udcff"):
        bad = await web.operator.get("customers", headers={"Host": host.encode("utf-8", "surrogateescape")})
        assert bad.status == 400, host
    head = await web.operator.call("HEAD", "customers")
    assert (head.status, head.content) == (200, b"")


@pytest_twisted.ensureDeferred
async def test_security_headers_are_on_everything(web: WebSide) -> None:
    for answer in (
        await web.operator.get("customers"),
        await web.anybody().get("customers"),
        await web.anybody().get("x"),
    ):
        assert answer.header("X-Content-Type-Options") == "nosniff"
        assert "default-src 'none'" in (answer.header("Content-Security-Policy") or "")
        assert "frame-ancestors 'none'" in (answer.header("Content-Security-Policy") or "")
        assert answer.header("Cache-Control") == "no-store"
        assert answer.header("Strict-Transport-Security") is None


@pytest_twisted.ensureDeferred
async def test_a_store_that_is_down(web: WebSide) -> None:
    made = await web.operator.post("customers", FULL)
    await web.readings.close()

    async def down(*args: object, **more: object) -> None:
        from cenergyd.errors import StoreUnavailable

        raise StoreUnavailable("mongodb://user:secret@host refused")

    web.customers.get = down
    answer = await web.operator.get(f"customers/{made.json['id']}")
    assert (answer.status, answer.json["code"], answer.header("Retry-After")) == (503, "store_unavailable", "5")
    assert b"secret" not in answer.content

    async def broken(*args: object, **more: object) -> None:
        raise ZeroDivisionError("secret inside")

    web.customers.get = broken
    answer = await web.operator.get(f"customers/{made.json['id']}")
    assert (answer.status, answer.json["code"]) == (500, "internal_error")
    assert b"secret" not in answer.content
