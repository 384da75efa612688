"""Regular uploads are stored with the state of their site; read together with the logger's document, nothing is missing."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from cenergyd.documents.kinds import LOGGER, SITE
from cenergyd.documents.loggers import CUSTOMER, loggers_of, uploads_in
from cenergyd.ingest.activity import LoggerActivity
from cenergyd.ingest.activity_record import CURRENT
from cenergyd.readings.model import Reading
from tests.derivation.memory import MemoryDocumentStore

SERIAL, OWNER = "001EC6001433", "c1"
NOON = 20_000 * 86400 + 43200


def run(coroutine: Any) -> Any:
    found: list[Any] = []
    Deferred.fromCoroutine(coroutine).addCallback(found.append)
    return found[0]


class Daemons:
    """Activity of some daemons on one store, and what the state of the site stores of it."""

    def __init__(self, count: int = 1, *, now: int = NOON, customer: str = OWNER) -> None:
        self.clock = Clock()
        self.clock.advance(now)
        self.customer = customer
        self.documents = MemoryDocumentStore()
        self.all = [self._started() for _ in range(count)]

    def _started(self) -> LoggerActivity:
        activity = LoggerActivity(self.documents, self.clock, interval_seconds=5, repeat_seconds=0)
        activity.startService()
        return activity

    def restart(self, number: int, *, killed: bool) -> None:
        if not killed:
            self.all[number].stopService()
        self.all[number] = self._started()

    def upload(self, number: int = 0, meter: str = "1", *, age: int = 60, error: bool = False, **device: str) -> None:
        now = int(self.clock.seconds())
        activity = self.all[number]
        activity.uploaded(SERIAL, "192.0.2.1", "Roof", self.customer)
        rows = [Reading(now - age - 60 * n, float(now % 977)) for n in reversed(range(15))]
        activity.meter(SERIAL, f"{SERIAL}_{meter}", {"name": meter, **device}, rows, (now, 139) if error else None)

    def evaluate(self, number: int = 0) -> None:
        """As :class:`SiteStateService` does."""
        regular = self.all[number].regular
        if (logger := self.documents.kept.get((LOGGER, SERIAL))) is not None:
            regular.compare(SERIAL, logger.body)
        if (new := regular.unsaved(OWNER)) is None:
            return
        uploads = new.joined(uploads_in(self.documents.kept.get((SITE, OWNER))))
        run(self.documents.put(SITE, OWNER, uploads.to_json()))
        regular.saved(OWNER, uploads)

    @property
    def version(self) -> int:
        return self.documents.kept[LOGGER, SERIAL].version

    @property
    def body(self) -> Any:
        """The logger's document with what is stored elsewhere."""
        body = dict(run(loggers_of(self.documents, [SERIAL]))[SERIAL].body)
        return {key: value for key, value in body.items() if key not in (CUSTOMER, CURRENT)}


def learnt(daemons: Daemons) -> int:
    """Uploads until the logger's interval is known; the version of its document after that."""
    for _ in range(3):
        daemons.upload()
        daemons.upload(meter="2")
        daemons.clock.advance(900)
        daemons.evaluate()
    return daemons.version


def test_a_regular_upload_writes_no_document_of_the_logger() -> None:
    daemons = Daemons()
    version = learnt(daemons)
    for _ in range(4):
        daemons.upload()
        daemons.clock.advance(7)
        daemons.upload(meter="2")
        daemons.clock.advance(60)
        uploaded = int(daemons.clock.seconds()) - 67
        daemons.evaluate()
        assert daemons.all[0].regular.unsaved(OWNER) is None, "it is stored"
        assert daemons.body["last_upload"] == uploaded + 7
        assert daemons.body["meters"][f"{SERIAL}_1"]["last_upload"] == uploaded
        assert daemons.body["meters"][f"{SERIAL}_2"]["last_time"] == uploaded + 7 - 60
        daemons.clock.advance(833)
    assert daemons.version == version


def test_a_logger_need_not_upload_to_the_second() -> None:
    daemons = Daemons()
    version = learnt(daemons)
    for seconds in (930, 870, 945, 900):
        daemons.upload()
        daemons.clock.advance(60)
        daemons.evaluate()
        daemons.clock.advance(seconds - 60)
    assert daemons.version == version
    daemons.upload()
    daemons.clock.advance(60)
    daemons.evaluate()
    daemons.clock.advance(946 - 60)
    daemons.upload()
    daemons.clock.advance(5)
    assert (daemons.version, daemons.body["gaps"]) == (version + 1, [[NOON // 86400, 946]]), "a longer gap than any"


def test_uploads_that_other_daemons_received_meanwhile_are_no_pause() -> None:
    here = Daemons(3)
    for number in (0, 1, 2, 0, 1, 2):
        here.upload(number)
        here.upload(number, meter="2")
        here.clock.advance(900)
        here.evaluate(number)
    version = here.version
    for number in (0, 1, 1, 2, 0, 2, 1, 0):
        here.upload(number)
        here.clock.advance(60)
        uploaded = int(here.clock.seconds()) - 60
        here.evaluate(number)
        assert here.all[number].regular.unsaved(OWNER) is None, "it is stored"
        assert here.body["last_upload"] == uploaded
        here.clock.advance(840)
    assert here.version == version
    here.clock.advance(900)
    here.upload(1)
    here.clock.advance(5)
    assert (here.version, here.body["gaps"]) == (version + 1, [[NOON // 86400, 1800]]), "nobody received one"


def test_whatever_else_is_new_is_written_at_once() -> None:
    for change in ({"error": True}, {"device_type": "other"}, {"meter": "3"}, {"age": 3000}):
        daemons = Daemons()
        version = learnt(daemons)
        daemons.upload(**change)
        daemons.clock.advance(5)
        assert daemons.version == version + 1, change
    daemons = Daemons()
    version = learnt(daemons)
    daemons.upload()
    daemons.clock.advance(60)
    daemons.evaluate()
    daemons.clock.advance(240)
    daemons.upload()
    daemons.clock.advance(5)
    assert daemons.version == version + 1, "somebody may wait for an upload that comes early"


def test_an_upload_whose_site_is_not_evaluated_is_written_later() -> None:
    daemons = Daemons()
    version = learnt(daemons)
    daemons.upload()
    uploaded = int(daemons.clock.seconds())
    daemons.clock.pump([5] * 59)
    assert daemons.version == version
    daemons.clock.pump([5] * 3)
    assert (daemons.version, daemons.body["last_upload"]) == (version + 1, uploaded)


def test_a_restart_writes_nothing_and_goes_on_with_the_same_intervals() -> None:
    daemons = Daemons()
    version = learnt(daemons)
    daemons.restart(0, killed=False)
    for _ in range(3):
        daemons.upload()
        daemons.upload(meter="2")
        daemons.clock.advance(60)
        daemons.evaluate()
        daemons.clock.advance(840)
    assert daemons.version == version
    assert [gap for _, gap in daemons.body["gaps"]] == [900]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["upload", "upload", "upload", "slow", "early", "late", "old", "error", "named", "restart"]),
        st.integers(0, 1),
        st.sampled_from(["1", "2"]),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
@example([("late", 0, "1"), ("upload", 1, "2"), ("named", 0, "2"), ("upload", 1, "2")])
@example(
    [
        *[("upload", 0, "1")] * 2, ("early", 0, "1"), ("old", 0, "1"),
        *[("upload", 0, "2")] * 3, ("early", 0, "2"), *[("old", 0, "1")] * 2,
    ]
)  # fmt: skip
def test_read_together_the_documents_say_what_one_document_would(steps: list[tuple[str, int, str]]) -> None:
    """Two daemons, of which any receives an upload, and either loses nothing of what the site's state has stored."""
    daemons, plain = Daemons(2), Daemons(2, customer="")
    for what, number, meter in steps:
        options: dict[str, Any] = {"meter": meter}
        changes: dict[str, dict[str, Any]] = {
            "old": {"age": 5000},
            "error": {"error": True},
            "named": {"device_type": "new"},
        }
        options |= changes.get(what, {})
        for each in (daemons, plain):
            if what == "restart":
                each.restart(number, killed=True)
                continue
            each.upload(number, **options)
            each.clock.advance(20)
            each.evaluate(number)
            each.clock.advance({"early": 200, "late": 4000}.get(what, 880))
            each.evaluate(number)
        if (LOGGER, SERIAL) in plain.documents.kept:
            assert daemons.body == plain.body, what
