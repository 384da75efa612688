"""Loading plugins: entry points like anybody else's, switches, and plugins that are broken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import globalLogPublisher

from cenergyd.daemon import plugins as pluginmanager
from cenergyd.daemon.plugins import PluginManager, build_plugin_manager, list_plugins
from cenergyd.errors import ConfigError

HEAD = "from cenergyd.hookspecs import hookimpl\n"
DERIVE = HEAD + "@hookimpl{options}\ndef cenergyd_derive({arguments}): return None\n"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A factory of installed distributions with one plugin each."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(name: str, code: str, plugin: str | None = None) -> None:
        module = f"third_party_{name.replace('-', '_')}"
        (tmp_path / f"{module}.py").write_text(code)
        info = tmp_path / f"{name.replace('-', '_')}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[cenergyd]\n{plugin or name} = {module}\n")

    yield install
    for module in [each for each in sys.modules if each.startswith("third_party_")]:
        del sys.modules[module]


@pytest.fixture
def logged() -> Any:
    events: list[dict[str, Any]] = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


def names(manager: PluginManager, hook: str = "cenergyd_derive") -> list[str]:
    return [each.plugin for each in manager.implementations(hook)]


def test_built_ins_come_by_entry_points() -> None:
    assert {"solar", "load", "utility"} <= set(names(build_plugin_manager()))
    ours = {info.name: info for info in list_plugins() if info.distribution == "cenergyd"}
    assert ours["solar"].hooks == ("cenergyd_derive",)
    assert ours["solar"].version
    assert not any(info.problem for info in ours.values())


def test_a_third_partys_comes_too_and_first_if_it_says_so(installed: Any) -> None:
    installed("late", DERIVE.format(options="(trylast=True)", arguments="customer"))
    installed("early", DERIVE.format(options="(tryfirst=True)", arguments="role"))
    found = names(build_plugin_manager())
    assert (found[0], found[-1]) == ("early", "late")
    assert [(info.version, info.distribution) for info in list_plugins() if info.name == "late"] == [("1.2", "late")]


def test_a_disabled_one_is_not_even_imported(installed: Any) -> None:
    installed("poison", "raise SystemExit('must not be imported')")
    manager = build_plugin_manager(["poison", "solar"])
    assert "solar" not in names(manager)
    assert {info.name for info in manager.infos if not info.enabled} == {"poison", "solar"}
    assert not any(info.problem for info in manager.infos)


@pytest.mark.parametrize(("name", "hint"), [("sola", "did you mean solar"), ("xyz", "there are")])
def test_disabling_an_unknown_one_is_a_mistake(name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=f"no plugin {name}.*{hint}"):
        build_plugin_manager([name])


@pytest.mark.parametrize(
    "code",
    [
        "import a_module_that_is_not_there",
        "1 / 0",
        "raise SystemExit(1)",
        "this is no python",
        DERIVE.format(options="", arguments="no_such_argument"),
        HEAD + "@hookimpl\ndef cenergyd_no_such_hook(): pass\n",
        HEAD + "@hookimpl(wrapper=True)\ndef cenergyd_derive(role):\n    return (yield)\n",
    ],
)
def test_a_broken_one_is_left_out_and_told(code: str, installed: Any, logged: list[dict[str, Any]]) -> None:
    installed("broken", code)
    manager = build_plugin_manager()
    assert "broken" not in names(manager)
    assert {"solar", "load", "utility"} <= set(names(manager))
    (info,) = (info for info in manager.infos if info.name == "broken")
    assert info.problem
    assert info.enabled
    assert any(event.get("plugin") == "broken" for event in logged)


def test_nobody_takes_a_built_ins_name(installed: Any, logged: list[dict[str, Any]]) -> None:
    installed("impostor", "1 / 0", plugin="solar")
    assert "solar" in names(build_plugin_manager())
    assert any(event.get("distribution") == "impostor" for event in logged)


def test_without_installation_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pluginmanager, "entry_points", lambda group: ())
    with pytest.raises(ConfigError, match="pip install"):
        build_plugin_manager()


def test_extra_ones_are_for_tests_and_embedding() -> None:
    class Extra:
        from cenergyd.hookspecs import hookimpl

        @hookimpl
        def cenergyd_periodic(self, context: object) -> None: ...

    manager = build_plugin_manager(extra=[("extra", Extra())])
    assert "extra" in names(manager, "cenergyd_periodic")
    assert manager.infos[-1].hooks == ("cenergyd_periodic",)


def test_importing_derivation_imports_no_store() -> None:
    code = "import sys, cenergyd.derivation.service, cenergyd.jobs.service; print([m for m in sys.modules if m.endswith(('.influx', '.mongo', '.sqlite')) and m.startswith('cenergyd')])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
