"""Who owns which field: ``metadata.managedFields``, update tracking and server-side apply.

    track_update(new, old, *, manager, api_version, subresource, type, now) -> None
        sets new.metadata.managedFields. Call it after decoding and defaulting, *before* mutating admission and
        the strategy's prepare: what those set belongs to nobody. ``old`` is None on create; ``type`` is the kind's schema Type, or None where there is none (types are then deduced from
        the values); ``now`` is a metav1.Time. ``subresource`` is "" for the object itself.

    apply(live, applied, *, manager, api_version, force, subresource, type, now) -> Object
        the object that a server-side apply makes of ``live`` (None: of nothing), managedFields included. Raises
        ``Conflict`` with a cause for every conflicting field, BadRequest for configurations that cannot be applied.

    versions (of both)
        the kind's other versions, by apiVersion: (Type, what converts an object to it, and back), the one written in too.
        What was written in another version keeps its owners as that version shows them; owners in a version that is
        not named go. None: all versions are alike.

    manager_of(field_manager, user_agent) -> str
        the manager of a request: its fieldManager, else what its user agent starts with

A write through ``scale`` is a write of the parent's spec.replicas with ``subresource="scale"``.
A custom resource's Type may say of a free-form field (kind ``any``) that its map_type is ``granular``: it is then
tracked field by field, as Kubernetes does for x-kubernetes-preserve-unknown-fields.

Both functions leave ``old``, ``live`` and ``applied`` as they are. The rules are structured-merge-diff's:

- A set of fields is kept as its wire form (FieldsV1): ``{"f:spec": {"f:replicas": {}}}``; ``{}`` is a member,
  ``"."`` marks a member that has members below.
- A write owns what it changed, and everybody else loses it. What it removed nobody owns any more.
- An apply owns exactly what it applied; what it applied before, no longer applies and nobody else owns, goes.
"""

from coxswain.api.managedfields.apply import apply
from coxswain.api.managedfields.update import manager_of, track_update
from coxswain.api.managedfields.versions import Versions

__all__ = ["Versions", "apply", "manager_of", "track_update"]
