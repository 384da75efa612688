"""Finding and loading plugins: built-in ones and others by the same entry point group.

A third party's plugin that cannot be loaded is logged and left out; it never keeps the daemon from starting. Only a setting that
names no plugin does.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from importlib.metadata import EntryPoint, entry_points

import attrs
from twisted.logger import Logger
from twisted.python.failure import Failure

from cenergyd import hookspecs
from cenergyd.errors import ConfigError
from cenergyd.runtime import isolation
from cenergyd.runtime.isolation import describe

GROUP = "cenergyd"
_OURS = "cenergyd"

log = Logger()


@attrs.frozen(slots=True, kw_only=True)
class PluginInfo:
    """One plugin as ``cenergyd plugins`` lists it."""

    name: str
    """As in the entry point; what ``[plugins] disabled`` names."""
    version: str
    """Of its distribution."""
    distribution: str
    hooks: tuple[str, ...] = ()
    """The hooks it implements; empty where it is not loaded."""
    enabled: bool = True
    problem: str = ""
    """Why it is not loaded though it is enabled."""


class PluginManager(isolation.PluginManager):
    """With the hooks of cenergyd, and :attr:`infos` of everything that was found."""

    def __init__(self) -> None:
        super().__init__()
        self.add_hookspecs(hookspecs)
        self.infos: tuple[PluginInfo, ...] = ()


def build_plugin_manager(disabled: Iterable[str] = (), extra: Sequence[tuple[str, object]] = ()) -> PluginManager:
    """Load every installed plugin but the disabled ones.

    :param extra: more plugins by name, registered last (so they come before installed ones); for tests and embedding.
    :raises ConfigError: cenergyd itself is not installed, or ``disabled`` names no plugin.
    """
    found = _found()
    off = set(disabled)
    _check_names(off, [point.name for point in found])
    manager = PluginManager()
    manager.infos = tuple(_load(manager, point, point.name not in off) for point in found)
    for name, plugin in extra:
        manager.register(plugin, name)
        manager.infos += (_info(name, "", "", plugin, manager),)
    return manager


def list_plugins(disabled: Iterable[str] = ()) -> tuple[PluginInfo, ...]:
    """What is installed, loaded or not, ours first."""
    return build_plugin_manager(disabled).infos


def _found() -> list[EntryPoint]:
    """One entry point a name: ours first, so that nobody takes the name of a built-in by accident."""
    points = sorted(entry_points(group=GROUP), key=lambda point: (_distribution(point) != _OURS, point.name))
    if not points or _distribution(points[0]) != _OURS:
        raise ConfigError(
            "cenergyd's own plugins were not found, because cenergyd is not installed: run 'pip install .' in its folder"
        )
    unique: dict[str, EntryPoint] = {}
    for point in points:
        taken = unique.setdefault(point.name, point)
        if taken.value != point.value:
            log.error(
                "plugin {plugin} of {distribution} is left out: {other} has a plugin of that name",
                plugin=point.name, distribution=_distribution(point), other=_distribution(taken),
            )  # fmt: skip
    return list(unique.values())


def _check_names(disabled: set[str], known: Sequence[str]) -> None:
    for name in sorted(disabled - set(known)):
        close = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(known))}"
        raise ConfigError(f"[plugins] disabled: there is no plugin {name}; {hint}")


def _load(manager: PluginManager, point: EntryPoint, enabled: bool) -> PluginInfo:
    name, version, distribution = point.name, _version(point), _distribution(point)
    if not enabled:
        return PluginInfo(name=name, version=version, distribution=distribution, enabled=False)
    try:
        plugin = point.load()
        _register(manager, plugin, name)
    except BaseException as error:  # a plugin may raise anything, at import too
        log.failure(
            "plugin {plugin} of {distribution} {version} is left out: it cannot be loaded",
            Failure(error), plugin=name, distribution=distribution, version=version,
        )  # fmt: skip
        return PluginInfo(name=name, version=version, distribution=distribution, problem=describe(error))
    return _info(name, version, distribution, plugin, manager)


def _register(manager: PluginManager, plugin: object, name: str) -> None:
    """Register, or leave no trace: raises where a hook is unknown, has other arguments, or wraps others."""
    manager.register(plugin, name)
    try:
        manager.check_pending()
        for caller in manager.get_hookcallers(plugin) or ():
            for each in caller.get_hookimpls():
                if each.plugin is plugin and (each.wrapper or each.hookwrapper):
                    raise ValueError(f"{caller.name}: hook wrappers are not supported, plugins are called one by one")
    except BaseException:
        manager.unregister(plugin)
        raise


def _info(name: str, version: str, distribution: str, plugin: object, manager: PluginManager) -> PluginInfo:
    hooks = tuple(sorted(caller.name for caller in manager.get_hookcallers(plugin) or ()))
    return PluginInfo(name=name, version=version, distribution=distribution, hooks=hooks)


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist else ""


def _version(point: EntryPoint) -> str:
    return point.dist.version if point.dist else ""
