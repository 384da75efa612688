"""``cenergyd token``: bearer tokens for the API and for signing in."""

from __future__ import annotations

import json
import time

import click

from cenergyd.commands.common import (
    Failed,
    SettingsGroup,
    SettingsSource,
    find_customer,
    pass_source,
    run_async,
    stores_of,
    utc_text,
)
from cenergyd.runtime.clock import Reactor
from cenergyd.web.access.tokens import TokenInfo, Tokens

_PAGE = 500
_DAY = 86400


def register(group: click.Group) -> None:
    """Add the commands."""
    group.add_command(token)


@click.group(cls=SettingsGroup)
def token() -> None:
    """Create, list and revoke tokens. A token is used to sign in, or as a bearer token of the API."""


@token.command(name="add")
@click.argument("name")
@click.option("--operator", is_flag=True, help="For an operator: may see and change all customers.")
@click.option("--customer", metavar="CUSTOMER", help="For this customer (id or logger serial number) alone.")
@click.option("--days", type=click.IntRange(1, 36500), metavar="N", help="Expires after so many days. Default: never.")
@click.option("--once", is_flag=True, help="Valid for one sign-in only.")
@pass_source
def add(
    source: SettingsSource, /, *, name: str, operator: bool, customer: str | None, days: int | None, once: bool
) -> None:
    """Create a token and print it once: only its hash is stored. NAME identifies it in lists."""
    if operator == (customer is not None):
        raise click.UsageError("give either --operator or --customer")
    settings = source.load()
    now = int(time.time())

    async def work(reactor: Reactor) -> str:
        async with stores_of(settings, reactor) as stores:
            owner = (await find_customer(stores.customers, customer)).id if customer is not None else None
            secret, _ = await Tokens(stores.documents).add(
                "operator" if operator else "customer",
                name,
                now,
                customer_id=owner,
                expires=now + days * _DAY if days else None,
                one_time=once,
            )
            return secret

    click.echo(run_async(work))


@token.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@pass_source
def show(source: SettingsSource, /, *, as_json: bool) -> None:
    """List tokens, without their text: only hashes are stored."""
    settings = source.load()

    async def work(reactor: Reactor) -> list[TokenInfo]:
        async with stores_of(settings, reactor) as stores:
            tokens = Tokens(stores.documents)
            found: list[TokenInfo] = []
            while page := await tokens.page(after=found[-1].id if found else None, limit=_PAGE):
                found.extend(page)
            return found

    for info in run_async(work):
        click.echo(json.dumps(_plain(info)) if as_json else _line(info))


@token.command(name="revoke")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@pass_source
def revoke(source: SettingsSource, /, *, ids: tuple[str, ...]) -> None:
    """Revoke tokens by id, and end the sessions that they opened."""
    settings = source.load()

    async def work(reactor: Reactor) -> list[str]:
        async with stores_of(settings, reactor) as stores:
            tokens = Tokens(stores.documents)
            return [token_id for token_id in ids if not await tokens.revoke(token_id)]

    unknown = run_async(work)
    if unknown:
        raise Failed(f"there is no token {', '.join(unknown)}")


def _plain(info: TokenInfo) -> dict[str, object]:
    return {
        "id": info.id,
        "role": info.role,
        "customer_id": info.customer_id,
        "name": info.name,
        "created": info.created,
        "last_used": info.last_used,
        "expires": info.expires,
        "one_time": info.one_time,
    }


def _line(info: TokenInfo) -> str:
    owner = f"customer {info.customer_id}" if info.customer_id else info.role
    used = f"last used {utc_text(info.last_used)}" if info.last_used else "never used"
    ends = f"expires {utc_text(info.expires)}" if info.expires else "never expires"
    once = ", once" if info.one_time else ""
    return f"{info.id}  {owner}{once}  {info.name}  made {utc_text(info.created)}, {used}, {ends}"
