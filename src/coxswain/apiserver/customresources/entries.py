"""The registry's entries of a definition: one for each served version, all over one place in the store.

Objects are stored in the storage version and carry its apiVersion. With strategy None a conversion changes only the
apiVersion; then the object is pruned and defaulted by the schema of the version that is read, as Kubernetes does. An
entry goes without that step (its bytes are served as they lie) while nothing can differ: one version, never changed.
"""

from __future__ import annotations

from coxswain.api import errors
from coxswain.api.names import Object
from coxswain.apiserver import selecting
from coxswain.apiserver.conversion import Conversion
from coxswain.apiserver.customresources.definitions import Version, storage_version
from coxswain.apiserver.customresources.rules import CustomRules
from coxswain.apiserver.registry import Entry
from coxswain.apiserver.storage import prefix_of
from coxswain.apiserver.watchcache import CacheSpec


def entries(definition: Object, versions: list[Version]) -> list[Entry]:
    """The entries of these versions of a definition."""
    return [_entry(definition, version) for version in versions]


def cache_spec(versions: list[Version]) -> CacheSpec:
    """What the cache has to know: every field that is selectable in any version."""
    names = tuple(dict.fromkeys(name for version in versions for name in version.selectable))
    resource = versions[0].resource
    return CacheSpec(
        prefix=prefix_of(resource.gvr, custom=True),
        namespaced=resource.namespaced,
        field_names=names,
        field_values=selecting.custom(names).values,
    )


def _entry(definition: Object, version: Version) -> Entry:
    resource = version.resource
    return Entry(
        resource,
        CustomRules(version).rules(),
        selecting.custom(version.selectable),
        prefix=prefix_of(resource.gvr, custom=True),
        conversion=_conversion(definition, version),
        type=version.schema.type,
        unconditional_update=False,
        custom=True,
        conform=version.schema.conform,
        columns=version.columns,
        scale=version.scale,
    )


def _conversion(definition: Object, version: Version) -> Conversion | None:
    stored = storage_version(definition)
    changed = (definition["metadata"].get("generation") or 1) > 1
    others = len((definition.get("status") or {}).get("storedVersions") or ()) > 1
    if version.storage and not changed and not others:
        return None
    gvr, gvk = version.resource.gvr, version.resource.gvk
    group = gvr.group
    by_webhook = (definition["spec"].get("conversion") or {}).get("strategy") == "Webhook"

    def to_storage(obj: Object) -> Object:
        return _converted(obj, f"{group}/{stored}", by_webhook)

    def from_storage(obj: Object) -> Object:
        obj = _converted(obj, gvk.api_version, by_webhook)
        version.schema.conform(obj)
        version.schema.default(obj)
        return obj

    return Conversion(gvr._replace(version=stored), to_storage, from_storage)


def _converted(obj: Object, api_version: str, by_webhook: bool) -> Object:
    if obj.get("apiVersion") == api_version:
        return obj
    if by_webhook:
        raise errors.InternalError(
            f"conversion from {obj.get('apiVersion')} to {api_version} needs the definition's conversion webhook, "
            "which this server does not call; use spec.conversion.strategy None or a single version"
        )
    return {**obj, "apiVersion": api_version}
