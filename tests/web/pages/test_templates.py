"""Templates are compiled in a thread, with all that they include, before a page is rendered in the reactor's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import pytest
import pytest_twisted
from jinja2 import Environment, meta
from twisted.internet.threads import deferToThread

from cenergyd.web.pages.app import Pages
from cenergyd.web.pages.static import StaticFiles
from cenergyd.web.pages.templates import Templates
from cenergyd.web.server.clients import Clients
from cenergyd.web.server.root import Root
from tests.web.harness import Client, WebSide

P = ParamSpec("P")
T = TypeVar("T")


async def in_a_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    found: T = await deferToThread(function, *args, **kwargs)
    return found


def referenced(environment: Environment, name: str) -> set[str]:
    """All templates that one needs, itself included."""
    assert environment.loader is not None
    source = environment.loader.get_source(environment, name)[0]
    found = {name}
    for each in meta.find_referenced_templates(environment.parse(source)):
        assert each is not None, "a name that is known only when a page is rendered cannot be compiled before"
        found |= referenced(environment, each)
    return found


@pytest_twisted.ensureDeferred
async def test_a_compiled_page_needs_nothing_else() -> None:
    static = StaticFiles(Clients(()))
    names = Templates(static)._environment.list_templates()
    assert len(names) > 20
    for name in names:
        templates = Templates(static)
        await templates.compile(name)
        environment = templates._environment
        assert environment.cache is not None
        compiled = {key[1] for key in environment.cache.keys()}  # noqa: SIM118 - jinja's cache is no mapping
        assert compiled >= referenced(environment, name), name


@pytest_twisted.ensureDeferred
async def test_the_reactor_compiles_no_page(web: WebSide, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []
    compiled = Environment.compile

    def recorded(self: Environment, *args: object, **kwargs: object) -> object:
        threads.append(threading.current_thread().name)
        return compiled(self, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(Environment, "compile", recorded)
    pages = Pages(web.context, in_thread=in_a_thread)
    web.site.resource = Root({"": pages.app.resource()}, {})
    for path in ("/sign-in", "/nowhere", "/sign-in"):
        answer = await Client(web).get(path)
        assert b"<!doctype html>" in answer.content.lower()
    assert threads
    assert threading.main_thread().name not in threads
