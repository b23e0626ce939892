"""Profiles from configuration: which plugins run at which extension point, in which order, with which weights.

kube-scheduler's rules: the file's sets are merged over the defaults (``disabled`` takes away, ``*`` takes all,
``enabled`` replaces in place or is appended); then ``multiPoint`` plugins join every point that they implement,
unless that point disables them. At a point come first those that it enables itself and multiPoint has too, then
the other ones of multiPoint, then the rest of its own.

Our plugins do PreFilter with Filter and PreScore with Score: both go by the latter point.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final

from coxswain.base.errors import ConfigurationError
from coxswain.scheduler.configuration import Configuration, PluginRef, PluginSet, ProfileConfig, Reader
from coxswain.scheduler.framework import FilterPlugin, Profile, ScorePlugin, Weighted
from coxswain.scheduler.pernode import PerNode, PerNodeScore
from coxswain.scheduler.plugins.registry import DEFAULT_PLUGINS, DefaultPreemption, PrioritySort, make

#: What a plugin must have to be at a point.
_MARKS: Final = {
    "preEnqueue": ("gate",),
    "queueSort": ("sort_key",),
    "filter": ("filter", "filter_node"),
    "score": ("score", "score_node"),
    "reserve": ("reserve",),
    "permit": ("permit",),
    "preBind": ("pre_bind",),
    "bind": ("bind",),
    "postBind": ("post_bind",),
}
_BINDING: Final = ("reserve", "permit", "preBind", "bind", "postBind")


def implements(plugin: Any, point: str) -> bool:
    """Whether ``plugin`` has the methods of an extension point."""
    if point == "queueSort" and isinstance(plugin, PrioritySort):
        return True
    if point == "postFilter":
        return isinstance(plugin, DefaultPreemption)
    return any(hasattr(plugin, mark) for mark in _MARKS.get(point, ()))


def merge(defaults: Sequence[PluginRef], own: PluginSet | None) -> tuple[PluginRef, ...]:
    """The file's set over the default one."""
    if own is None:
        return tuple(defaults)
    enabled = {ref.name: ref for ref in own.enabled}
    kept = [] if "*" in own.disabled else [ref for ref in defaults if ref.name not in own.disabled]
    merged = [enabled.get(ref.name, ref) for ref in kept]
    replaced = {ref.name for ref in kept}
    return (*merged, *(ref for ref in own.enabled if ref.name not in replaced))


def at_point(multi: Iterable[PluginRef], own: PluginSet, has: Callable[[str], bool]) -> list[PluginRef]:
    """The plugins of one point in order; ``has``: whether a plugin implements it."""
    named = {ref.name: ref for ref in own.enabled}
    joining = [] if "*" in own.disabled else [r for r in multi if r.name not in own.disabled and has(r.name)]
    names = {ref.name for ref in joining}
    weights = {ref.name: ref.weight for ref in joining}
    first = [PluginRef(r.name, r.weight or weights[r.name]) for r in own.enabled if r.name in names]
    return [
        *first,
        *(ref for ref in joining if ref.name not in named),
        *(ref for ref in own.enabled if ref.name not in names),
    ]


def build_all(configuration: Configuration) -> dict[str, Profile]:
    """All profiles by scheduler name. Raises ``ConfigurationError``."""
    managed = {name for one in configuration.extenders for name, ignored in one.managed if ignored}
    return {
        config.scheduler_name: build(
            config, configuration.percentage_of_nodes_to_score, managed, at=f"profiles[{i}]"
        )
        for i, config in enumerate(configuration.profiles)
    }


def build(
    config: ProfileConfig,
    percentage: int | None = None,
    managed: Collection[str] = (),
    *,
    at: str = "profile",
) -> Profile:
    """One profile. Raises ``ConfigurationError`` naming all that is wrong with its plugins."""
    reader = Reader()
    multi = merge(DEFAULT_PLUGINS, config.plugins.get("multiPoint"))
    wanted = {ref.name for ref in multi}
    for name, plugins in config.plugins.items():
        wanted |= {ref.name for ref in plugins.enabled} if name != "multiPoint" else set()
    made: dict[str, Any] = {}
    for name in sorted(wanted):
        args = dict(config.args.get(name, {}))
        where = args.pop("", f"{at}.pluginConfig({name})")
        try:
            made[name] = make(name, reader.section(args, where), managed)
        except ConfigurationError as error:
            reader.errors.append(f"{at}.plugins{_named_at(config, name)}: {error}")

    def plugins_at(point: str) -> list[tuple[Any, int]]:
        own = config.plugins.get(point, PluginSet())
        refs = at_point(multi, own, lambda name: name in made and implements(made[name], point))
        for ref in refs:
            if ref.name in made and not implements(made[ref.name], point):
                reader.errors.append(
                    f"{at}.plugins.{point}: plugin {ref.name!r} does not extend {point} plugin"
                )
        names = [ref.name for ref in refs]
        for name in sorted({name for name in names if names.count(name) > 1}):
            reader.errors.append(f"{at}.plugins.{point}: plugin {name!r} already registered")
        return [(made[ref.name], ref.weight) for ref in refs if ref.name in made]

    profile = _profile(config, plugins_at, percentage, reader, at)
    if reader.errors:
        raise ConfigurationError("; ".join(dict.fromkeys(reader.errors)))
    return profile


def _named_at(config: ProfileConfig, name: str) -> str:
    """The place of a plugin's name in the file; empty where it is one of the defaults."""
    for point, plugins in config.plugins.items():
        for i, ref in enumerate(plugins.enabled):
            if ref.name == name:
                return f".{point}.enabled[{i}].name"
    return ""


def _profile(
    config: ProfileConfig,
    plugins_at: Callable[[str], list[tuple[Any, int]]],
    percentage: int | None,
    reader: Reader,
    at: str,
) -> Profile:
    sorts = [plugin for plugin, _ in plugins_at("queueSort")]
    if len(sorts) != 1:
        reader.errors.append(f"{at}.plugins.queueSort: one queue sort plugin is required, not {len(sorts)}")
    if not plugins_at("bind") and not any(ref.name == "DefaultBinder" for ref in _bound_by(config)):
        reader.errors.append(f"{at}.plugins.bind: at least one bind plugin is needed")
    binding: dict[str, Any] = {}
    for point in _BINDING:
        binding |= {plugin.NAME: plugin for plugin, _ in plugins_at(point)}
    preemption = [plugin for plugin, _ in plugins_at("postFilter")]
    own = config.percentage_of_nodes_to_score
    return Profile(
        name=config.scheduler_name,
        filters=tuple(_as_filter(plugin) for plugin, _ in plugins_at("filter")),
        scores=tuple(Weighted(_as_score(plugin), weight or 1) for plugin, weight in plugins_at("score")),
        gates=tuple(plugin for plugin, _ in plugins_at("preEnqueue")),
        percentage_of_nodes_to_score=(own if own is not None else percentage) or 0,
        binding=tuple(binding.values()),
        queue_sort=sorts[0] if sorts and hasattr(sorts[0], "sort_key") else None,
        preemption=preemption[0].args if preemption else None,
    )


def _as_filter(plugin: Any) -> FilterPlugin:
    found: FilterPlugin = plugin if hasattr(plugin, "filter") else PerNode(plugin)  # type: ignore[assignment]
    return found


def _as_score(plugin: Any) -> ScorePlugin:
    found: ScorePlugin = plugin if hasattr(plugin, "score") else PerNodeScore(plugin)  # type: ignore[assignment]
    return found


def _bound_by(config: ProfileConfig) -> Iterable[PluginRef]:
    multi = merge(DEFAULT_PLUGINS, config.plugins.get("multiPoint"))
    own = config.plugins.get("bind", PluginSet())
    return at_point(multi, own, lambda name: name == "DefaultBinder")
