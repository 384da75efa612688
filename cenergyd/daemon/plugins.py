"""Finds and loads plugins: built-in and third-party ones by the same entry point group, each with the options that it declares.

A third-party plugin that cannot be loaded is logged and skipped; it prevents the daemon from starting only if ``[plugins] required`` names
it. A setting that names no plugin, or no option of it, is an error.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import Distribution, EntryPoint, entry_points

import attrs
from twisted.logger import Logger
from twisted.python.failure import Failure

from cenergyd import hookspecs
from cenergyd.daemon.plugin_alert_rules import checked_rules
from cenergyd.errors import ConfigError
from cenergyd.hookspecs import AlertRuleType, Channel, ChannelType
from cenergyd.jobs.alerts.rules import BUILT_IN_CHANNELS
from cenergyd.runtime import isolation
from cenergyd.runtime.isolation import PluginFailed, error_text
from cenergyd.runtime.plugin_info import PluginInfo, PluginState
from cenergyd.runtime.plugin_options import BadDeclaration, check_declaration, read_options, secrets_in
from cenergyd.runtime.structs import Resource
from cenergyd.settings.loader import load_settings
from cenergyd.settings.plugin_section import PluginSection
from cenergyd.settings.sections import Settings

GROUP = "cenergyd"
_OURS = "cenergyd"
_OWN_SECTIONS = {"notify_email": "email", "notify_sms": "sms", "notify_webhook": "webhook"}
"""Built-in plugins whose options have their own section in the ini."""

log = Logger()


class LoadedPlugins(isolation.PluginManager):
    """A plugin manager with cenergyd's hooks, and what was found."""

    def __init__(self) -> None:
        super().__init__()
        self.add_hookspecs(hookspecs)
        self.infos: tuple[PluginInfo, ...] = ()
        """Every plugin that was found or is required, ours first."""
        self.faults: tuple[str, ...] = ()
        """What is wrong with the settings of plugins, a line each."""
        self.channel_types: dict[str, ChannelType] = {}
        """The kinds of channels that plugins declare, by type."""
        self.alert_rules: dict[str, dict[str, AlertRuleType]] = {}
        """The kinds of alerts that plugins declare, by plugin and kind."""
        self.declared: dict[str, type[Resource]] = {}
        """The options that plugins declare, by plugin."""

    def rules_by_kind(self) -> dict[str, AlertRuleType]:
        """The kinds of alerts that plugins declare."""
        return {kind: rule for rules in self.alert_rules.values() for kind, rule in rules.items()}

    def secrets(self) -> set[str]:
        """The values of options that must not be shown."""
        return {text for each in self.options.values() if isinstance(each, Resource) for text in secrets_in(each)}


def build_plugin_manager(
    settings: Settings | None = None, *, extra: Sequence[tuple[str, object]] = ()
) -> LoadedPlugins:
    """Load every installed plugin except the disabled ones.

    :param settings: None: the defaults.
    :param extra: more plugins by name, registered last (so they come before installed ones), in place of an installed one of that
        name or of that module; for tests and embedding.
    :raises ConfigError: cenergyd itself is not installed, a required plugin is not there, or a setting of plugins is wrong.
    """
    manager = find_plugins(settings, extra=extra)
    if manager.faults:
        raise ConfigError("\n".join(manager.faults))
    return manager


def find_plugins(settings: Settings | None = None, *, extra: Sequence[tuple[str, object]] = ()) -> LoadedPlugins:
    """As :func:`build_plugin_manager`, but errors in the settings are returned in ``faults``."""
    if settings is None:
        settings = load_settings(Settings, None)
    points, shadowed = _found({name for name, _ in extra})
    manager = LoadedPlugins()
    off = set(settings.plugins.disabled)
    own = {id(plugin) for _, plugin in extra}
    infos = [info for point in points if point.name not in off and (info := _load(manager, point, own)) is not None]
    infos += [_info(point, state="disabled") for point in points if point.name in off]
    for name, plugin in extra:
        _register(manager, plugin, name)
        infos.append(PluginInfo(name=name, hooks=_hooks_of(manager, plugin)))
    infos = [_with_options(manager, info, settings) for info in _in_order(infos + shadowed)]
    required = set(settings.plugins.required)
    known = {info.name for info in infos}
    infos += [
        PluginInfo(name=name, state="missing", problem="it is not installed") for name in sorted(required - known)
    ]
    manager.infos = tuple(infos)
    manager.built_in = frozenset(info.name for info in infos if info.distribution == _OURS and info.state == "loaded")
    manager.faults += tuple(_faults_of(settings, manager.infos))
    return manager


def log_plugins(infos: Iterable[PluginInfo]) -> None:
    """Log which plugins are loaded."""
    for info in infos:
        if info.state == "loaded":
            log.info(
                "plugin {plugin} of {distribution} {version}: {hooks}",
                plugin=info.name, distribution=info.distribution, version=info.version, hooks=" ".join(info.hooks),
            )  # fmt: skip
        if info.problem:
            log.error("plugin {plugin} ({state}): {reason}", plugin=info.name, state=info.state, reason=info.problem)


def _found(extra: set[str]) -> tuple[list[EntryPoint], list[PluginInfo]]:
    """One entry point per name, ours first, so that no plugin takes a built-in's name by accident; and those left out."""
    points = sorted(entry_points(group=GROUP), key=lambda point: (_distribution(point) != _OURS, point.name))
    if not points or _distribution(points[0]) != _OURS:
        raise ConfigError(
            "cenergyd's own plugins were not found, because cenergyd is not installed: run 'pip install .' in its folder"
        )
    unique: dict[str, EntryPoint] = {}
    shadowed: list[PluginInfo] = []
    for point in points:
        taken = unique.setdefault(point.name, point)
        if taken.value != point.value:
            problem = f"the plugin of {_distribution(taken)} has its name"
            shadowed.append(_info(point, state="shadowed", problem=problem))
    return [point for name, point in unique.items() if name not in extra], shadowed


def _load(manager: LoadedPlugins, point: EntryPoint, own: set[int]) -> PluginInfo | None:
    """None where the module is one of the extra ones."""
    try:
        plugin = point.load()
        if id(plugin) in own:
            return None
        problem = _register(manager, plugin, point.name)
    except BaseException as error:  # a plugin may raise anything, at import too
        log.failure(
            "plugin {plugin} of {distribution} {version} is left out: it cannot be loaded",
            Failure(error), plugin=point.name, distribution=_distribution(point), version=_version(point),
        )  # fmt: skip
        return _info(point, state="failed", problem=error_text(error))
    return _info(point, hooks=_hooks_of(manager, plugin), problem=problem)


def _register(manager: LoadedPlugins, plugin: object, name: str) -> str:
    """Register completely or not at all: raises if a hook is unknown, has other arguments, or is a wrapper. Returns lesser faults."""
    manager.register(plugin, name)
    try:
        manager.check_pending()
        for caller in manager.get_hookcallers(plugin) or ():
            for each in caller.get_hookimpls():
                if each.plugin is plugin and (each.wrapper or each.hookwrapper):
                    raise ValueError(f"{caller.name}: hook wrappers are not supported, plugins are called one by one")
        return _unmarked(manager, plugin)
    except BaseException:
        manager.unregister(plugin)
        raise


def _unmarked(manager: LoadedPlugins, plugin: object) -> str:
    """Faults of a plugin in which not all functions are marked as hooks."""
    implemented = _hooks_of(manager, plugin)
    hooks = [name for name in dir(hookspecs) if name.startswith("cenergyd_")]
    unmarked = [name for name in hooks if name not in implemented and callable(getattr(plugin, name, None))]
    if unmarked:
        return f"{', '.join(unmarked)}: not marked with @hookimpl, and so never called"
    return "" if implemented else "it implements no hook"


def _with_options(manager: LoadedPlugins, info: PluginInfo, settings: Settings) -> PluginInfo:
    """Ask a loaded plugin for its options and read them from the settings."""
    if info.state != "loaded":
        return info
    if info.name in _OWN_SECTIONS:
        manager.options[info.name] = getattr(settings, _OWN_SECTIONS[info.name])
    try:
        kind = _declared(manager, info.name)
    except (PluginFailed, BadDeclaration) as error:
        manager.unregister(name=info.name)
        return attrs.evolve(info, state="failed", hooks=(), problem=str(error))
    section = settings.plugin.get(info.name, PluginSection())
    if kind is not None:
        manager.declared[info.name] = kind
        manager.options[info.name], faults = read_options(info.name, kind, section)
        manager.faults += tuple(faults)
    elif info.name in settings.plugin:
        manager.faults += (f"[plugin:{info.name}]: plugin {info.name} has no options",)
    return _with_kinds(manager, info)


def _with_kinds(manager: LoadedPlugins, info: PluginInfo) -> PluginInfo:
    """Ask a plugin for the kinds of channels that it sends to, and of alerts that it raises."""
    try:
        for implementation in manager.implementations("cenergyd_alert_rules"):
            if implementation.plugin == info.name:
                rules = checked_rules(manager.call(implementation, {}), manager.rules_by_kind())
                manager.alert_rules[info.name] = {rule.kind: rule for rule in rules}
        for implementation in manager.implementations("cenergyd_channels"):
            if implementation.plugin == info.name:
                for kind in _checked_channels(manager.call(implementation, {}), manager.channel_types):
                    manager.channel_types[kind.type] = kind
                    manager.notifiers[kind.type] = info.name
    except (PluginFailed, BadDeclaration) as error:
        manager.unregister(name=info.name)
        manager.alert_rules.pop(info.name, None)
        return attrs.evolve(info, state="failed", hooks=(), problem=str(error))
    return info


def _checked_channels(kinds: object, taken: Mapping[str, ChannelType]) -> list[ChannelType]:
    found = list(kinds) if isinstance(kinds, list | tuple) else []
    if not found or not all(isinstance(kind, ChannelType) for kind in found):
        raise BadDeclaration("cenergyd_channels: a list of ChannelType is needed")
    for kind in found:
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,31}", str(kind.type)):
            raise BadDeclaration(f"cenergyd_channels: {str(kind.type)[:50]!r} is not a name of a channel type")
        if kind.type in taken or kind.type in BUILT_IN_CHANNELS:
            raise BadDeclaration(f"cenergyd_channels: another plugin sends to channels of type {kind.type}")
        if not issubclass(kind.fields, Channel) or kind.address not in kind.fields.__struct_fields__:
            raise BadDeclaration(f"cenergyd_channels: fields of {kind.type} must be a Channel with {kind.address}")
    return found


def _declared(manager: LoadedPlugins, name: str) -> type[Resource] | None:
    for implementation in manager.implementations("cenergyd_options"):
        if implementation.plugin == name:
            return check_declaration(manager.call(implementation, {}))
    return None


def _faults_of(settings: Settings, infos: Sequence[PluginInfo]) -> Iterable[str]:
    known = {info.name: info for info in infos}
    installed = [info.name for info in infos if info.state != "missing"]
    for name in settings.plugins.required:
        info = known[name]
        if info.state != "loaded":
            reason = info.problem or "[plugins] disabled names it too"
            yield f"[plugins] required: plugin {name} is not loaded: {reason}"
    for name in sorted(settings.plugins.disabled):
        if name not in installed:
            yield f"[plugins] disabled: there is no plugin {name}; {_meant(name, installed)}"
    for name in sorted(settings.plugin):
        if name not in installed:
            yield f"[plugin:{name}]: there is no plugin {name}; {_meant(name, installed)}"


def _meant(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(known))}"


def _in_order(infos: Sequence[PluginInfo]) -> list[PluginInfo]:
    return sorted(infos, key=lambda info: (info.distribution != _OURS, info.name))


def _info(
    point: EntryPoint, *, state: PluginState = "loaded", hooks: tuple[str, ...] = (), problem: str = ""
) -> PluginInfo:
    return PluginInfo(
        name=point.name, version=_version(point), distribution=_distribution(point),
        hooks=hooks, state=state, problem=problem,
    )  # fmt: skip


def _hooks_of(manager: LoadedPlugins, plugin: object) -> tuple[str, ...]:
    return tuple(sorted(caller.name for caller in manager.get_hookcallers(plugin) or ()))


def _distribution(point: EntryPoint) -> str:
    return _name_and_version(point.dist)[0] if point.dist else ""


def _version(point: EntryPoint) -> str:
    return _name_and_version(point.dist)[1] if point.dist else ""


@lru_cache(maxsize=100)
def _name_and_version(distribution: Distribution) -> tuple[str, str]:
    """Each of the two is read from a file whenever it is asked for, and most plugins are of one distribution."""
    return distribution.name, distribution.version
