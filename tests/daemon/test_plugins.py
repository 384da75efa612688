"""Loading plugins: entry points, settings, and broken plugins."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cenergyd.daemon import plugins as pluginmanager
from cenergyd.daemon.plugins import LoadedPlugins, build_plugin_manager, find_plugins, log_plugins
from cenergyd.errors import ConfigError, InvalidField
from cenergyd.hookspecs import hookimpl
from cenergyd.jobs.alerts.rules import edit_alerts
from cenergyd.runtime.plugin_info import PluginInfo
from cenergyd.settings.loader import load_settings
from cenergyd.settings.sections import Settings
from tests.plugins.installing import distribution

HEAD = "from cenergyd.hookspecs import hookimpl\n"
DERIVE = HEAD + "@hookimpl{options}\ndef cenergyd_derive({arguments}): return None\n"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A factory of installed distributions with one plugin each."""
    monkeypatch.syspath_prepend(str(tmp_path))
    yield partial(distribution, tmp_path)
    for module in [each for each in sys.modules if each.startswith("third_party_")]:
        del sys.modules[module]


def settings(**overrides: str) -> Settings:
    return load_settings(Settings, None, {key.replace("__", ".", 1): value for key, value in overrides.items()})


def info_of(manager: LoadedPlugins, name: str) -> PluginInfo:
    (found,) = [info for info in manager.infos if info.name == name]
    return found


def names(manager: LoadedPlugins, hook: str = "cenergyd_derive") -> list[str]:
    return [each.plugin for each in manager.implementations(hook)]


def test_built_ins_come_by_entry_points() -> None:
    manager = build_plugin_manager()
    assert {"solar", "load", "utility"} <= set(names(manager))
    ours = {info.name: info for info in manager.infos if info.distribution == "cenergyd"}
    assert ours["solar"].hooks == ("cenergyd_derive",)
    assert ours["solar"].version
    assert {info.state for info in ours.values()} == {"loaded"}
    assert not any(info.problem for info in ours.values())


def test_third_party_plugins_are_loaded_and_tryfirst_is_respected(installed: Any) -> None:
    installed("late", DERIVE.format(options="(trylast=True)", arguments="customer"))
    installed("early", DERIVE.format(options="(tryfirst=True)", arguments="role"))
    manager = build_plugin_manager()
    found = names(manager)
    assert (found[0], found[-1]) == ("early", "late")
    assert (info_of(manager, "late").version, info_of(manager, "late").distribution) == ("1.2", "late")


def test_a_disabled_one_is_not_even_imported(installed: Any) -> None:
    installed("poison", "raise SystemExit('must not be imported')")
    manager = build_plugin_manager(settings(plugins__disabled="poison solar"))
    assert "solar" not in names(manager)
    assert {info.name for info in manager.infos if info.state == "disabled"} == {"poison", "solar"}
    assert not any(info.problem for info in manager.infos)


@pytest.mark.parametrize(("name", "hint"), [("sola", "did you mean solar"), ("xyz", "there are")])
@pytest.mark.parametrize("where", ["disabled", "section"])
def test_a_setting_of_an_unknown_one_is_a_mistake(name: str, hint: str, where: str) -> None:
    wrong = {"plugins__disabled": name} if where == "disabled" else {f"plugin:{name}__x": "1"}
    with pytest.raises(ConfigError, match=f"no plugin {name}.*{hint}"):
        build_plugin_manager(settings(**wrong))


@pytest.mark.parametrize(
    "code",
    [
        "import a_module_that_is_not_there",
        "1 / 0",
        "raise SystemExit(1)",
        "raise KeyboardInterrupt",
        "import asyncio\nraise asyncio.CancelledError",
        "class Own(BaseException): ...\nraise Own",
        "this is no python",
        DERIVE.format(options="", arguments="no_such_argument"),
        HEAD + "@hookimpl\ndef cenergyd_no_such_hook(): pass\n",
        HEAD + "@hookimpl(wrapper=True)\ndef cenergyd_derive(role):\n    return (yield)\n",
        HEAD + "@hookimpl\ndef cenergyd_options(): raise KeyboardInterrupt\n",
        HEAD + "@hookimpl\ndef cenergyd_options(): return 5\n",
        "def __getattr__(name): raise KeyboardInterrupt",
    ],
)
def test_a_broken_one_is_left_out_and_reported(code: str, installed: Any, logged: list[dict[str, Any]]) -> None:
    installed("broken", code)
    manager = build_plugin_manager()
    assert "broken" not in names(manager)
    assert {"solar", "load", "utility"} <= set(names(manager))
    info = info_of(manager, "broken")
    assert (info.state, info.hooks) == ("failed", ())
    assert info.problem
    log_plugins(manager.infos)
    assert any(event.get("plugin") == "broken" for event in logged)


def test_a_required_one_that_is_not_there_stops_the_start(installed: Any) -> None:
    installed("broken", "1 / 0")
    for name, reason in (
        ("carport", "it is not installed"),
        ("broken", "ZeroDivisionError"),
        ("solar", "disabled names it too"),
    ):
        wanted = settings(plugins__required=name, plugins__disabled="solar")
        with pytest.raises(ConfigError, match=rf"required: plugin {name} is not loaded: .*{reason}"):
            build_plugin_manager(wanted)
    assert info_of(find_plugins(settings(plugins__required="carport")), "carport").state == "missing"
    build_plugin_manager(settings(plugins__required="solar load"))


def test_a_plugin_cannot_take_the_name_of_a_built_in_one(installed: Any) -> None:
    installed("impostor", "1 / 0", plugin="solar")
    manager = build_plugin_manager()
    assert "solar" in names(manager)
    (shadowed,) = [info for info in manager.infos if info.state == "shadowed"]
    assert (shadowed.name, shadowed.distribution) == ("solar", "impostor")
    assert "cenergyd" in shadowed.problem


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("def cenergyd_job(customer): ...\n", "cenergyd_job: not marked with @hookimpl"),
        (HEAD + "@hookimpl\ndef cenergyd_periodic(): ...\ndef cenergyd_job(): ...\n", "cenergyd_job: not marked"),
        ("x = 1\n", "it implements no hook"),
    ],
)
def test_functions_without_a_mark_are_reported(installed: Any, code: str, problem: str) -> None:
    installed("forgetful", code)
    info = info_of(build_plugin_manager(), "forgetful")
    assert info.state == "loaded"
    assert problem in info.problem


OPTIONS = """
from typing import Annotated, Literal
from msgspec import Meta
from cenergyd.hookspecs import Resource, hookimpl

class Options(Resource):
    ratio: Annotated[float, Meta(gt=0, le=10, description="Factor.")] = 1.0
    count: Annotated[int, Meta(ge=1, description="How many.")] = 3
    clamp: Annotated[bool, Meta(description="Whether.")] = False
    names: Annotated[tuple[str, ...], Meta(description="Which.")] = ()
    mode: Annotated[Literal["a", "b"], Meta(description="How.")] = "a"
    key: Annotated[str, Meta(description="Secret.", extra={"secret": True})] = ""

@hookimpl
def cenergyd_options(): return Options

@hookimpl
def cenergyd_job(options): return options
"""


def test_options_are_what_the_plugin_declares(installed: Any) -> None:
    installed("tuned", OPTIONS)
    assert build_plugin_manager().options["tuned"].ratio == 1.0  # type: ignore[attr-defined]
    chosen = settings(**{
        "plugin:tuned__ratio": "2.5", "plugin:tuned__count": "7", "plugin:tuned__clamp": "yes",
        "plugin:tuned__names": "one, two", "plugin:tuned__mode": "b", "plugin:tuned__key": "hunter2",
    })  # fmt: skip
    manager = build_plugin_manager(chosen)
    options: Any = manager.options["tuned"]
    assert (options.ratio, options.count, options.clamp) == (2.5, 7, True)
    assert (options.names, options.mode, options.key) == (("one", "two"), "b", "hunter2")
    assert manager.secrets() == {"hunter2"}
    (implementation,) = [each for each in manager.implementations("cenergyd_job") if each.plugin == "tuned"]
    assert manager.call(implementation, {}) is options


def test_wrong_options_are_reported_all_at_once_without_secrets(installed: Any, tmp_path: Path) -> None:
    installed("tuned", OPTIONS)
    installed("bare", DERIVE.format(options="", arguments="role"))
    file = tmp_path / "cenergyd.ini"
    file.write_text(
        "[plugin:tuned]\nratio = 20\ncount = many\nclamp = perhaps\nmode = c\nrato = 1\n[plugin:bare]\nx = 1\n"
    )
    with pytest.raises(ConfigError) as wrong:
        build_plugin_manager(load_settings(Settings, file))
    lines = sorted(str(wrong.value).splitlines())
    assert len(lines) == 6
    assert f"{file}: [plugin:tuned] ratio = '20': a number" in str(wrong.value)
    assert f"{file}: [plugin:tuned] count = 'many': a whole number" in str(wrong.value)
    assert "mode = 'c': one of a, b is needed (default: 'a')" in str(wrong.value)
    assert "did you mean ratio?" in str(wrong.value)
    assert "plugin bare has no options" in str(wrong.value)


CHANNELS = """
from typing import Annotated
from msgspec import Meta
from cenergyd.hookspecs import Channel, ChannelType, hookimpl

class Fields(Channel):
    room: Annotated[str, Meta(max_length=20, pattern="^[a-z]+$")]

@hookimpl
def cenergyd_channels(): return [ChannelType("{type}", "Chat", Fields, "{address}", idempotent=True)]
"""


def test_channels_are_what_the_plugin_declares(installed: Any) -> None:
    installed("chat", CHANNELS.format(type="chat", address="room"))
    manager = build_plugin_manager()
    assert manager.channel_types["chat"].label == "Chat"
    assert manager.notifiers == {"chat": "chat"}
    with pytest.raises(InvalidField, match=r"text|match") as wrong:
        edit_alerts(None, {"channels": [{"type": "chat", "room": "No Such"}]}, manager.channel_types)
    assert wrong.value.field == "alerts.channels.0.room"
    stored = edit_alerts(None, {"channels": [{"type": "chat", "room": "energy"}]}, manager.channel_types)
    assert list(stored["channels"]) == [{"type": "chat", "room": "energy"}]


@pytest.mark.parametrize(
    ("kind", "address", "problem"),
    [("email", "room", "another plugin"), ("Chat", "room", "not a name"), ("chat", "to", "a Channel with to")],
)
def test_wrong_channels_are_reported(installed: Any, kind: str, address: str, problem: str) -> None:
    installed("chat", CHANNELS.format(type=kind, address=address))
    info = info_of(build_plugin_manager(), "chat")
    assert info.state == "failed"
    assert problem in info.problem


@pytest.mark.parametrize(
    ("field", "problem"),
    [
        ("ratio: Annotated[float, Meta(description='x')]", "ratio has no default"),
        ("ratio: float = 1.0", "ratio has no description"),
    ],
)
def test_each_option_has_a_default_and_a_reason(installed: Any, field: str, problem: str) -> None:
    head = OPTIONS.partition("class Options")[0]
    installed(
        "careless", f"{head}class Options(Resource):\n    {field}\n@hookimpl\ndef cenergyd_options(): return Options\n"
    )
    assert problem in info_of(build_plugin_manager(), "careless").problem


def test_without_installation_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pluginmanager, "entry_points", lambda group: ())
    with pytest.raises(ConfigError, match="pip install"):
        build_plugin_manager()


class Extra:
    @hookimpl
    def cenergyd_periodic(self) -> None: ...


def test_extra_ones_are_for_tests_and_embedding() -> None:
    manager = build_plugin_manager(extra=[("extra", Extra())])
    assert "extra" in names(manager, "cenergyd_periodic")
    assert info_of(manager, "extra").hooks == ("cenergyd_periodic",)


def test_an_extra_one_takes_the_place_of_itself_installed(installed: Any) -> None:
    installed("mine", DERIVE.format(options="", arguments="role"))
    import third_party_mine  # type: ignore[import-not-found]

    for name in ("mine", "another_name"):  # by name, or by module
        manager = build_plugin_manager(extra=[(name, third_party_mine)])
        assert names(manager)[0] == name
        assert [info.name for info in manager.infos if info.name in ("mine", "another_name")] == [name]


def test_importing_derivation_imports_no_store() -> None:
    code = "import sys, cenergyd.derivation.service, cenergyd.jobs.service; print([m for m in sys.modules if m.endswith(('.influx', '.mongo', '.sqlite')) and m.startswith('cenergyd')])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
