"""The state of a site as JSON."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from cenergyd.customers.model import Role
from cenergyd.customers.time_zones import zone_or_utc
from cenergyd.jobs.site_state.issue_text import TITLES, good_text, issue_text
from cenergyd.jobs.site_state.model import IssueKind, SiteState
from cenergyd.runtime.structs import Resource, Time


class SiteIssue(Resource, frozen=True, kw_only=True):
    """One problem of a site."""

    kind: IssueKind
    level: Literal["bad", "warn", "idle", "ok"]
    role: Role | None
    meter: Annotated[str, Meta(description="The meter's id, or empty.")]
    since: Annotated[Time | None, Meta(description="null: not known.")]
    code: Annotated[int | None, Meta(description="The error code in the meter's log.")]
    field: Annotated[str, Meta(description="The setting to change, or empty.")]
    title: str
    text: Annotated[str, Meta(description="For people; times in the site's zone.")]
    advice: str


class RoleNow(Resource, frozen=True, kw_only=True):
    """The newest reading of a role, which may be an old one: ``stale``."""

    role: Role
    computed: bool
    time: Time | None
    P: Annotated[float | None, Meta(description="kW, import and production positive.")]
    stale: Annotated[
        bool,
        Meta(
            description="Not the present power: older than two hours or than the logger's usual upload interval explains, or another of the "
            "site's meters has newer readings."
        ),
    ]


class SiteStateJson(Resource, frozen=True, kw_only=True):
    """A site's state, evaluated by its logger's usual upload interval and its meters' usual intervals."""

    kind: IssueKind
    level: Literal["bad", "warn", "idle", "ok"]
    title: str
    text: Annotated[
        str,
        Meta(
            description="For people, times in the site's zone: the first issue, or what is known of a site without one."
        ),
    ]
    issues: Annotated[list[SiteIssue], Meta(description="Worst first; empty if there is none.")]
    roles: list[RoleNow]
    last_upload: Time | None
    usual_gap_seconds: Annotated[
        int | None, Meta(description="The usual longest time between two uploads; null: not known yet.")
    ]
    progress: Annotated[float | None, Meta(description="How much of a backlog is computed, 0 to 1.")]
    lag_seconds: Annotated[int | None, Meta(description="From the newest computed reading to the newest measured one.")]

    @classmethod
    def of(cls, state: SiteState, time_zone: str, now: int) -> SiteStateJson:
        """A state at a site."""
        zone = zone_or_utc(time_zone)
        issues = []
        for issue in state.issues:
            texts = issue_text(issue, state, now, zone)
            issues.append(
                SiteIssue(
                    kind=issue.kind, level=issue.level, role=issue.role, meter=issue.meter, since=issue.since, code=issue.code,
                    field=issue.field, title=texts.title, text=texts.text, advice=texts.advice,
                )
            )  # fmt: skip
        return cls(
            kind=state.kind,
            level=state.level,
            title=TITLES[state.kind],
            text=issues[0].text if issues else good_text(state, now, zone),
            issues=issues,
            roles=[
                RoleNow(role=each.role, computed=each.computed, time=each.time, P=each.power, stale=each.is_stale(now))
                for each in state.roles
            ],
            last_upload=state.last_upload,
            usual_gap_seconds=state.usual_gap,
            progress=state.progress,
            lag_seconds=state.lag_seconds,
        )
