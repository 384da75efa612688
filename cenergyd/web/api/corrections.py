"""Corrections of wrong readings: make one, list them with author, time and reason, undo one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from cenergyd.derivation.corrector import CorrectionRequest, Corrector, Listed
from cenergyd.readings.corrections import LATEST, MAX_ACTIVE, MAX_FACTOR, MAX_REASON, CorrectionKind
from cenergyd.runtime.structs import Resource, Time
from cenergyd.web.access.auth import Principal
from cenergyd.web.api import openapi
from cenergyd.web.api.routing import Call, Response, Route
from cenergyd.web.views.context import Context

Moment = Annotated[int, Meta(ge=0, le=LATEST, extra={"needed": "UTC seconds since 1970 are needed"})]


class NewCorrection(Resource, frozen=True, kw_only=True):
    """A correction to be made of a measured meter's readings."""

    meter: Annotated[str, Meta(max_length=8, description="Id of a measured meter, such as `2`.")]
    kind: Annotated[
        Literal["void", "scale", "shift"],
        Meta(
            description="`void`: the readings are ignored; `scale`: P and Q are multiplied by a factor; `shift`: their times are moved."
        ),
    ]
    start: Annotated[Moment, Meta(description="Start of the range, UTC seconds, by the times that are shown now.")]
    end: Annotated[
        Moment,
        Meta(description="Exclusive. May be in the future: then the correction also applies to readings yet to come."),
    ]
    factor: (
        Annotated[float, Meta(ge=-MAX_FACTOR, le=MAX_FACTOR, description="For `scale`: neither 0 nor 1.")] | UnsetType
    ) = UNSET
    seconds: (
        Annotated[int, Meta(ge=-LATEST, le=LATEST, description="For `shift`: added to the time; not 0.")] | UnsetType
    ) = UNSET
    reason: Annotated[str, Meta(min_length=1, max_length=MAX_REASON, description="The reason, in one line.")]
    logger_serial_number: (
        Annotated[
            str, Meta(max_length=32, description="A logger that is or was the customer's; default: the present one.")
        ]
        | UnsetType
    ) = UNSET


class CorrectionJson(Resource, frozen=True, kw_only=True):
    """A correction, active or undone."""

    id: str
    series: str
    meter: str
    kind: CorrectionKind
    start: Time
    end: Annotated[int, Meta(description="UTC seconds, exclusive.")]
    factor: float | None
    seconds: int | None
    reason: str
    made_by: str
    made_at: Time
    undone_by: str | None
    undone_at: Time | None

    @classmethod
    def of(cls, listed: Listed) -> CorrectionJson:
        """A listed correction."""
        each = listed.correction
        return cls(
            id=listed.id, series=listed.series, meter=listed.series.partition("_")[2], kind=each.kind,
            start=each.start, end=each.end, factor=each.factor, seconds=each.seconds, reason=each.reason,
            made_by=each.by, made_at=each.at, undone_by=each.undone_by, undone_at=each.undone_at,
        )  # fmt: skip


class CorrectionList(Resource, frozen=True, kw_only=True):
    """Corrections, newest first."""

    corrections: list[CorrectionJson]


class CorrectionsApi:
    """``/customers/{customer_id}/corrections``."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._corrector = corrector_of(context)

    async def show(self, call: Call, customer_id: str) -> Response:
        """Every correction of the customer's meters, active or undone."""
        found = await self._corrector.listed(await self._context.customer(customer_id))
        return Response(CorrectionList(corrections=[CorrectionJson.of(each) for each in found]))

    async def add(self, call: Call, customer_id: str) -> Response:
        """Make a correction."""
        given = call.body(NewCorrection)
        customer = await self._context.customer(customer_id)
        wanted = CorrectionRequest(
            meter=given.meter, kind=given.kind, start=given.start, end=given.end,
            factor=None if given.factor is UNSET else given.factor,
            seconds=None if given.seconds is UNSET else given.seconds,
            reason=given.reason,
            serial="" if given.logger_serial_number is UNSET else given.logger_serial_number.upper(),
        )  # fmt: skip
        made = await self._corrector.add(customer, wanted, author(call.principal), call.now)
        return Response(CorrectionJson.of(made), 201)

    async def undo(self, call: Call, customer_id: str, correction_id: str) -> Response:
        """Undo a correction; it stays in the list."""
        customer = await self._context.customer(customer_id)
        return Response(
            CorrectionJson.of(await self._corrector.undo(customer, correction_id, author(call.principal), call.now))
        )

    def routes(self) -> Sequence[Route]:
        """All of this subject's routes."""
        every = "/customers/{customer_id}/corrections"
        return (
            Route("GET", every, self.show, "signed_in", _LIST),
            Route("POST", every, self.add, "signed_in", _ADD),
            Route("DELETE", f"{every}/{{correction_id}}", self.undo, "signed_in", _UNDO),
        )


def corrector_of(context: Context) -> Corrector:
    """The corrector of the daemon's stores."""
    return Corrector(customers=context.customers, readings=context.readings, documents=context.documents)


def author(principal: Principal) -> str:
    """The author of a correction, as the list shows it."""
    return f"{principal.role}: {principal.name}"


_TAG = "corrections"
_LIST = openapi.Operation(
    "readCorrections", _TAG, "Corrections of readings, with author, time and reason", response=CorrectionList,
    parameters=[openapi.CUSTOMER_ID],
)  # fmt: skip
_ADD = openapi.Operation(
    "addCorrection", _TAG, "Void, scale or shift a range of a meter's readings", response=CorrectionJson, status=201,
    body=NewCorrection, parameters=[openapi.CUSTOMER_ID], errors=[409, 412],
    description=f"""The meter's own values stay stored (`original=1` where readings are read); everything that is shown or computed follows
the correction, late and resent readings too. Corrections apply in the order in which they were made. A range cannot be shifted to times that have other readings (409); readings that arrive there later are hidden. A range can be shifted once. The energy registers of a scaled range are ignored. At most {MAX_ACTIVE} corrections of a customer may be active. The logger must have been the customer's at all times of
the range.""",
)  # fmt: skip
_UNDO = openapi.Operation(
    "undoCorrection", _TAG, "Undo a correction", response=CorrectionJson, errors=[409, 412],
    parameters=[openapi.CUSTOMER_ID, openapi.path_parameter("correction_id", "The correction's id.")],
    description="Everything is as if it had never been made. 409 if it is undone already, or a later one depends on its shift.",
)  # fmt: skip
