"""The registry's entries of a definition: one for each served version, all over one place in the store.

Objects are stored in the storage version and carry its apiVersion. With strategy None a conversion changes only the
apiVersion, with strategy Webhook the definition's webhook makes the rest (``remote``); then the object is pruned and
defaulted by the schema of the version that is read, as Kubernetes does. An
entry goes without that step (its bytes are served as they lie) while nothing can differ: one version, never changed.
"""

from __future__ import annotations

from coxswain.api.names import Object
from coxswain.apiserver import selecting
from coxswain.apiserver.conversion import Conversion
from coxswain.apiserver.customresources.definitions import Version, storage_version
from coxswain.apiserver.customresources.remote import Converter, RemoteConversion
from coxswain.apiserver.customresources.rules import CustomRules
from coxswain.apiserver.registry import Entry
from coxswain.apiserver.storage import prefix_of
from coxswain.apiserver.watchcache import CacheSpec


def entries(definition: Object, versions: list[Version], converter: Converter | None = None) -> list[Entry]:
    """The entries of these versions of a definition; ``converter`` asks its webhook, where it has one."""
    return [_entry(definition, version, converter) for version in versions]


def by_webhook(definition: Object) -> bool:
    """Whether a webhook converts the definition's objects."""
    return bool((definition["spec"].get("conversion") or {}).get("strategy") == "Webhook")


def cache_spec(versions: list[Version]) -> CacheSpec:
    """What the cache has to know: every field that is selectable in any version."""
    names = tuple(dict.fromkeys(name for version in versions for name in version.selectable))
    resource = versions[0].resource
    return CacheSpec(
        shown_as=(resource.gvr.group, resource.gvr.resource),
        prefix=prefix_of(resource.gvr, custom=True),
        namespaced=resource.namespaced,
        field_names=names,
        field_values=selecting.custom(names).values,
    )


def _entry(definition: Object, version: Version, converter: Converter | None) -> Entry:
    resource = version.resource
    return Entry(
        resource,
        CustomRules(version).rules(),
        selecting.custom(version.selectable),
        prefix=prefix_of(resource.gvr, custom=True),
        conversion=_conversion(definition, version, converter),
        type=version.schema.type,
        unconditional_update=False,
        custom=True,
        conform=version.schema.conform,
        columns=version.columns,
        deprecation=version.warning,
        scale=version.scale,
    )


def _conversion(definition: Object, version: Version, converter: Converter | None) -> Conversion | None:
    stored = storage_version(definition)
    changed = (definition["metadata"].get("generation") or 1) > 1
    others = len((definition.get("status") or {}).get("storedVersions") or ()) > 1
    if version.storage and not changed and not others:
        return None
    gvr, gvk = version.resource.gvr, version.resource.gvk
    storage_version_ = f"{gvr.group}/{stored}"
    convert = converter.converted if converter is not None else _renamed

    def to_storage(obj: Object) -> Object:
        return convert(obj, storage_version_)

    def from_storage(obj: Object) -> Object:
        obj = convert(obj, gvk.api_version)
        version.schema.conform(obj)
        version.schema.default(obj)
        return obj

    remote = RemoteConversion(converter, storage_version_, gvk.api_version) if converter is not None else None
    return Conversion(gvr._replace(version=stored), to_storage, from_storage, remote)


def _renamed(obj: Object, api_version: str) -> Object:
    return obj if obj.get("apiVersion") == api_version else {**obj, "apiVersion": api_version}
