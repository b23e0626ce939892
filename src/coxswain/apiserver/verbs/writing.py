"""How an object gets into the store: the part that create, update, patch, apply and subresources share.

    create:  default -> managed fields -> mutating admission -> system fields, name -> strategy -> addresses
             -> validation -> validating admission -> commit (the key must be absent)
    update:  read -> transform -> default -> managed fields -> mutating admission -> system fields -> strategy
             -> validation -> validating admission -> unchanged? -> commit (the revision must be the one read)

An update whose commit loses a race is done again from the newest object; where the client named the revision
that it wants to replace, that is then its Conflict. The order is Kubernetes' own (``registry/rest``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from coxswain.api import codec, errors, managedfields, strategy
from coxswain.api import fields as field_errors
from coxswain.api.fields import Errors
from coxswain.api.names import Object
from coxswain.api.validation.objectmeta import validate_object_meta_update
from coxswain.apiserver.admission.request import Operation
from coxswain.apiserver.admission.request import Request as AdmissionRequest
from coxswain.apiserver.authz.attributes import Attributes, forbidden
from coxswain.apiserver.options import WriteOptions
from coxswain.apiserver.registry import Entry, Noting
from coxswain.apiserver.replicas import Replica, Twin, parts_of
from coxswain.apiserver.representation import object_reply
from coxswain.apiserver.request import Context, Core, Reply, Reservation, Write, is_service
from coxswain.apiserver.watchcache import Item, Pending
from coxswain.base import clock
from coxswain.store.interface import ABSENT, CompareFailed, Op, StoreClosed, StoreFull

Transform = Callable[[Object], Object]

#: How often a generated name, or an update without a revision of its own, is tried.
_NAME_ATTEMPTS = 8
_UPDATE_ATTEMPTS = 50

_RESOURCE_VERSION_ON_CREATE = "resourceVersion should not be set on objects to be created"


class Shown(Protocol):
    """How admission sees a change through a subresource that has a kind of its own (Scale)."""

    def show(self, request: AdmissionRequest) -> None:
        """Put the subresource's objects into the request."""
        ...

    def take(self, request: AdmissionRequest, new: Object) -> None:
        """Put what admission made of them into ``new``."""
        ...


@dataclass(frozen=True, slots=True)
class Door:
    """How objects may be changed through a resource or one of its subresources."""

    prepare: Callable[[Object, Object], None]
    validate: Callable[[Object, Object], Errors]
    subresource: str = ""
    #: Whether the request's own defaults apply (subresources leave the rest of the object alone).
    defaults: bool = True
    #: What admission is shown, where that is not the object itself.
    shown: Shown | None = None
    #: Validates instead, where it has warnings to give, too.
    noting: Noting | None = None


def main_door(entry: Entry) -> Door:
    """Changes through the resource itself."""
    rules = entry.rules
    return Door(rules.prepare_update, rules.validate_update, noting=rules.noting_update)


def status_door(entry: Entry) -> Door:
    """Changes through ``/status``."""
    rules = entry.rules
    return Door(
        rules.prepare_status_update, rules.validate_status_update, "status", noting=rules.noting_status_update
    )


def admission_request(
    ctx: Context, operation: Operation, options: WriteOptions, obj: Object | None, old: Object | None
) -> AdmissionRequest:
    """What admission plugins see of a write."""
    return AdmissionRequest(
        ctx.user,
        operation,
        ctx.entry.gvr,
        ctx.subresource,
        ctx.namespace,
        ctx.name,
        obj,
        old,
        options.raw,
        options.dry_run,
        ctx.warnings,
    )


async def admit(core: Core, request: AdmissionRequest) -> None:
    """Both halves of admission, for what has nothing between them. Raises ``ApiError``."""
    pending = core.admission.mutate(request)
    if pending is not None:
        await pending
    pending = core.admission.validate(request)
    if pending is not None:
        await pending


def current(entry: Entry, item: Item) -> Object:
    """The object of ``item`` in the version of ``entry``, freshly decoded, with its resourceVersion."""
    obj = item.decode()
    return entry.conversion.from_storage(obj) if entry.conversion else obj


def served(entry: Entry, raw: bytes) -> bytes:
    """Stored JSON in the version of ``entry``."""
    return entry.conversion.raw_from_storage(raw) if entry.conversion else raw


def new_uid() -> str:
    """A random UUID of version 4."""
    bits = clock.random().getrandbits(128)
    bits = bits & ~(0xF << 76) | 0x4 << 76
    bits = bits & ~(0x3 << 62) | 0x2 << 62
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


# -- create


def authorize_create(core: Core, ctx: Context) -> None:
    """An update or patch that creates needs the permission to create. Raises ``Forbidden``."""
    gvr = ctx.entry.gvr
    attributes = Attributes(
        ctx.user, "create", gvr.group, gvr.version, gvr.resource, "", ctx.namespace, ctx.name
    )
    decision = core.authorizer.authorize(attributes)
    if not decision.allowed:
        raise forbidden(attributes, decision.reason)


async def create_object(
    core: Core, ctx: Context, obj: Object, options: WriteOptions, *, applied: bool = False
) -> bytes:
    """Write a new object; its JSON as served. ``applied``: managed fields are there already.

    Raises ``ApiError``. ``obj`` is changed in place.
    """
    if not applied:
        prepare_new(ctx, obj)
    return await create_prepared(core, ctx, obj, options)


def prepare_new(ctx: Context, obj: Object) -> None:
    """The first steps of a creation, which depend on the request alone: defaults and managed fields."""
    drop_duplicate_owners(obj)
    ctx.entry.rules.default(obj)
    codec.complete(obj, ctx.entry.gvk)
    track(ctx, obj, None)


async def create_prepared(
    core: Core, ctx: Context, obj: Object, options: WriteOptions, replica: Replica | None = None
) -> bytes:
    """The other steps: admission, validation, commit. ``replica`` knows of earlier objects like this one."""
    entry = ctx.entry
    has_revision = obj["metadata"].get("resourceVersion") not in (None, "", "0")
    request = admission_request(ctx, "CREATE", options, obj, None)
    pending = core.admission.mutate(request)
    if pending is not None:
        await pending
    metadata = obj["metadata"]
    if (metadata.get("namespace") or "") != ctx.namespace:
        _stay_in_namespace(ctx, metadata)
    generated = _fill_system_fields(metadata)
    entry.rules.prepare_create(obj)
    codec.complete(obj, entry.gvk)
    reservation = _reserve(core, entry, obj, None)
    try:
        _check_new(ctx, obj, replica, () if entry.guard is None else entry.guard(core, ctx, obj, None))
        request.name = metadata["name"]
        pending = core.admission.validate(request)
        if pending is not None:
            await pending
        if has_revision:
            # The client's mistake, which Kubernetes finds out only when it stores, and answers with a bare 500.
            raise errors.BadRequest(_RESOURCE_VERSION_ON_CREATE)
        raw = await _insert(core, ctx, obj, options.dry_run, generated)
    except BaseException:
        if reservation is not None:
            reservation.rollback()
        raise
    if reservation is not None:
        if options.dry_run:
            reservation.rollback()
        else:
            reservation.commit()
    return raw


def _stay_in_namespace(ctx: Context, metadata: Object) -> None:
    """What admission made goes where the request was allowed to put it. Raises ``BadRequest``."""
    if metadata.get("namespace") and ctx.entry.namespaced:
        raise errors.BadRequest(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if ctx.entry.namespaced:
        metadata["namespace"] = ctx.namespace
    else:
        metadata.pop("namespace", None)


def _check_new(
    ctx: Context, obj: Object, replica: Replica | None, guarded: Sequence[field_errors.FieldError]
) -> None:
    """Refuse an object that breaks its kind's rules; note the warnings about one that does not.

    ``guarded``: what the kind's guard had to complain about.
    """
    if not guarded and replica is not None and replica.is_checked(obj):
        ctx.warnings.extend(replica.warnings)
        return
    entry = ctx.entry
    problems = [*guarded, *entry.rules.validate_create(obj)]
    if problems:
        raise errors.invalid(entry.error_group, entry.kind, obj["metadata"].get("name") or "", problems)
    warnings = entry.rules.warnings(obj)
    ctx.warnings.extend(warnings)
    if replica is not None:
        replica.keep_checked(obj, warnings)


def _fill_system_fields(metadata: Object) -> str:
    """Set what only the server sets; the generateName prefix if it made the name."""
    for name in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion"):
        metadata.pop(name, None)
    metadata["creationTimestamp"] = clock.timestamp()
    metadata["uid"] = new_uid()
    if not metadata.get("name") and (base := metadata.get("generateName")):
        metadata["name"] = strategy.generate_name(base)
        return str(base)
    return ""


def _reserve(core: Core, entry: Entry, obj: Object, old: Object | None) -> Reservation | None:
    if core.allocator is None or not is_service(entry.gvr):
        return None
    return core.allocator.assign(obj, old)


async def _insert(core: Core, ctx: Context, obj: Object, dry_run: bool, generated: str) -> bytes:
    entry = ctx.entry
    metadata = obj["metadata"]
    for attempt in range(_NAME_ATTEMPTS):
        namespace, name = metadata.get("namespace") or "", metadata["name"]
        if entry.cache is not None and entry.cache.get(namespace, name) is not None:
            taken = True
        elif dry_run:
            return object_json(obj)
        else:
            try:
                return await commit(core, entry, obj, ABSENT)
            except CompareFailed:
                taken = True
        if taken and (not generated or attempt == _NAME_ATTEMPTS - 1):
            break
        metadata["name"] = strategy.generate_name(generated)
    if generated:
        raise _no_name_left(entry, generated, metadata["name"])
    raise errors.already_exists(entry.gvr, metadata["name"])


def _no_name_left(entry: Entry, base: str, name: str) -> errors.AlreadyExists:
    failure = errors.already_exists(entry.gvr, base)
    failure.message = (
        f'Operation cannot be fulfilled on {entry.gvr.group_resource} "{name}": '
        "the server was not able to generate a unique name for the object"
    )
    return failure


def begin_twin(core: Core, ctx: Context, twin: Twin, attempts: int = _NAME_ATTEMPTS) -> Write:
    """Another object like ``twin``, up to its commit. Raises ``AlreadyExists`` after so many names that are taken."""
    entry = ctx.entry
    cache = entry.cache
    assert cache is not None
    name = ""
    while attempts:
        attempts -= 1
        name = strategy.generate_name(twin.base)
        if cache.get(ctx.namespace, name) is None:
            break
    else:
        raise _no_name_left(entry, twin.base, name)
    value = twin.value(name, new_uid())
    pending = Pending(value, twin.labels, twin.fields)

    def reply() -> Reply:
        ctx.warnings.extend(twin.warnings)
        item = pending.item
        raw = item.raw if item is not None else arrived(entry, pending, ctx.namespace, name).raw
        return object_reply(ctx, 201, raw)

    async def again() -> Reply:
        return await carry_out(core, begin_twin(core, ctx, twin, attempts))

    return Write(Op(entry.key(ctx.namespace, name), value, ABSENT), pending, reply, again)


def keep_twin(
    core: Core,
    ctx: Context,
    obj: Object,
    options: WriteOptions,
    replica: Replica,
    warnings: tuple[str, ...],
    state: int,
) -> None:
    """Let ``replica`` remember ``obj`` as it was stored, if the next one like it will only differ in name and uid."""
    entry, metadata = ctx.entry, obj["metadata"]
    if (
        entry.cache is None
        or entry.conversion is not None
        or entry.guard is not None
        or is_service(entry.gvr)
    ):
        return
    if not core.admission.repeats(admission_request(ctx, "CREATE", options, obj, None)):
        return
    value, name, uid = entry.encode(obj), metadata["name"], metadata["uid"]
    parts = parts_of(value, name, uid)
    if parts is None:
        return
    fields, labels = entry.cache.spec.field_values(obj), metadata.get("labels") or {}
    second = metadata["creationTimestamp"]
    twin = Twin(parts, metadata["generateName"], labels, fields, warnings, ctx.user, state, second)
    replica.keep_twin(twin, value, name, uid)


def object_json(obj: Object) -> bytes:
    """The JSON of an object that is not stored (dry runs), in the version that it is in."""
    return codec.encode(obj)


async def commit(core: Core, entry: Entry, obj: Object, expect: int) -> bytes:
    """Store ``obj``; its JSON as served, with the new resourceVersion. Raises ``CompareFailed``."""
    metadata = obj["metadata"]
    if entry.conversion is not None and entry.conversion.remote is not None:
        await entry.conversion.remote.settle(obj)
    stored = entry.stored_form(obj)
    value = entry.encode(stored)
    assert entry.cache is not None
    pending = Pending(value, metadata.get("labels") or {}, entry.cache.spec.field_values(stored))
    key = entry.key(metadata.get("namespace") or "", metadata["name"])
    await committed(core, Op(key, value, expect), pending)
    if entry.conversion is not None and pending.item is not None:
        # What went into the store is still here: no need to read it again.
        seen = entry.encode(entry.conversion.from_storage(stored))
        return codec.splice_resource_version(seen, pending.item.revision)
    return served(entry, arrived(entry, pending, metadata.get("namespace") or "", metadata["name"]).raw)


def arrived(entry: Entry, pending: Pending, namespace: str, name: str) -> Item:
    """What a commit has left in the cache. Raises ``NotFound`` when it is gone already."""
    if pending.item is not None:
        return pending.item
    found = entry.cache.get(namespace, name) if entry.cache is not None else None
    if found is None:
        raise errors.not_found(entry.gvr, name)
    return found


async def carry_out(core: Core, begun: Write | Awaitable[Reply]) -> Reply:
    """The answer to a request that was begun."""
    if not isinstance(begun, Write):
        return await begun
    try:
        await committed(core, begun.op, begun.pending)
    except CompareFailed:
        return await begun.again()
    return begun.reply()


async def committed(core: Core, op: Op, pending: Pending | None) -> int:
    """The revision of a write; what goes wrong is an ``ApiError``, but for ``CompareFailed``."""
    try:
        return await core.storage.commit(op, pending)
    except (StoreFull, StoreClosed) as error:
        raise told(error) from error


def told(error: Exception) -> Exception:
    """What a client is told when a commit failed with ``error``."""
    if isinstance(error, StoreFull):
        return errors.InternalError(f"no space is left in the store: {error}", code=507)
    if isinstance(error, StoreClosed):
        return errors.ServiceUnavailable(f"the store is closed: {error}", retry_after=1)
    return error


# -- update


async def update_object(
    core: Core,
    ctx: Context,
    transform: Transform,
    options: WriteOptions,
    door: Door,
    *,
    tracked: bool = True,
) -> bytes:
    """Change an object; its JSON as served, whether or not anything had to be written.

    ``transform`` gets a copy of the newest object and returns the new one; a resourceVersion in that one must
    still be the newest. ``tracked`` False: the managed fields are there already (server-side apply).
    """
    entry = ctx.entry
    assert entry.cache is not None
    for _ in range(_UPDATE_ATTEMPTS):
        await core.storage.catch_up()
        item = entry.cache.get(ctx.namespace, ctx.name)
        if item is None:
            raise errors.not_found(entry.gvr, ctx.name)
        new = transform(current(entry, item))
        _check_revision(entry, ctx.name, new, item)
        try:
            return await _replace(core, ctx, new, item, options, door, tracked)
        except CompareFailed as failure:
            if failure.current is None:
                raise errors.not_found(entry.gvr, ctx.name) from None
    raise errors.conflict(entry.gvr, ctx.name, errors.MODIFIED)


def _check_revision(entry: Entry, name: str, new: Object, item: Item) -> None:
    """Refuse ``new`` when it names a revision that is not the newest (or none, where it must)."""
    given = new["metadata"].pop("resourceVersion", None)
    if not given or given == "0":
        if not entry.unconditional_update:
            problem = field_errors.invalid("metadata.resourceVersion", 0, "must be specified for an update")
            raise errors.invalid(entry.error_group, entry.kind, name, [problem])
    elif given != str(item.revision):
        if not str(given).isdigit():
            problem = field_errors.invalid("metadata.resourceVersion", given, _not_a_number(given))
            raise errors.invalid(entry.error_group, entry.kind, name, [problem])
        raise errors.conflict(entry.gvr, name, errors.MODIFIED)


def _not_a_number(text: object) -> str:
    return f'strconv.ParseUint: parsing "{text}": invalid syntax'


async def _replace(
    core: Core, ctx: Context, new: Object, item: Item, options: WriteOptions, door: Door, tracked: bool
) -> bytes:
    entry = ctx.entry
    old = current(entry, item)
    metadata, before = new["metadata"], old["metadata"]
    given_uid = metadata.get("uid")
    if given_uid and given_uid != before.get("uid"):
        why = (
            f"Precondition failed: UID in precondition: {given_uid}, UID in object meta: {before.get('uid')}"
        )
        raise errors.conflict(entry.gvr, ctx.name, why)
    drop_duplicate_owners(new)
    if door.defaults:
        entry.rules.default(new)
    codec.complete(new, entry.gvk)
    # The same on both sides: rules may ask for it, and it must not count as a difference.
    metadata["resourceVersion"] = before["resourceVersion"]
    _keep_system_fields(metadata, before)
    if tracked:
        track(ctx, new, old)
    request = admission_request(ctx, "UPDATE", options, new, old)
    if door.shown is not None:
        door.shown.show(request)
    pending = core.admission.mutate(request)
    if pending is not None:
        await pending
    if door.shown is not None:
        door.shown.take(request, new)
    _keep_system_fields(new["metadata"], before)
    door.prepare(new, old)
    codec.complete(new, entry.gvk)
    reservation = None if door.subresource else _reserve(core, entry, new, old)
    try:
        problems = validate_object_meta_update(new["metadata"], before, strict_finalizers=False)
        if entry.guard is not None:
            problems = [*entry.guard(core, ctx, new, old), *problems]
        noting = door.noting
        problems += door.validate(new, old) if noting is None else noting(new, old, ctx.warnings)
        if problems:
            raise errors.invalid(entry.error_group, entry.kind, ctx.name, problems)
        if not door.subresource and noting is None:
            ctx.warnings.extend(entry.rules.warnings(new))
        pending = core.admission.validate(request)
        if pending is not None:
            await pending
        raw = await _store_update(core, ctx, new, old, item, options.dry_run)
    except BaseException:
        if reservation is not None:
            reservation.rollback()
        raise
    if reservation is not None:
        if options.dry_run:
            reservation.rollback()
        else:
            reservation.commit()
    return raw


_SYSTEM_FIELDS = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")


def _keep_system_fields(metadata: Object, before: Object) -> None:
    metadata.pop("selfLink", None)
    for name in _SYSTEM_FIELDS:
        if name in before:
            metadata[name] = before[name]
        else:
            metadata.pop(name, None)


async def _store_update(
    core: Core, ctx: Context, new: Object, old: Object, item: Item, dry_run: bool
) -> bytes:
    entry = ctx.entry
    if new == old and (dry_run or not core.storage.is_stale(entry.prefix + item.key)):
        return served(entry, item.raw)
    if _is_finished(new):
        raw = object_json(new)
        if not dry_run:
            await remove_key(core, entry, item)
        return raw
    if dry_run:
        return object_json(new)
    return await commit(core, entry, new, item.revision)


def _is_finished(new: Object) -> bool:
    """Whether a terminating object has nothing left to wait for, so that this update removes it."""
    metadata = new["metadata"]
    if not metadata.get("deletionTimestamp") or metadata.get("finalizers"):
        return False
    if metadata.get("deletionGracePeriodSeconds"):
        return False
    return not (new.get("kind") == "Namespace" and (new.get("spec") or {}).get("finalizers"))


async def remove_key(core: Core, entry: Entry, item: Item) -> int:
    """Delete a stored object, if it is still at the revision of ``item``. Raises ``CompareFailed``."""
    revision = await committed(core, Op(entry.prefix + item.key, None, item.revision), None)
    if core.allocator is not None and is_service(entry.gvr):
        core.allocator.release(item.decode())
    return revision


# -- shared


def track(ctx: Context, new: Object, old: Object | None) -> None:
    """Note in ``new`` who changed what."""
    entry = ctx.entry
    managedfields.track_update(
        new,
        old,
        manager=ctx.manager,
        api_version=entry.gvk.api_version,
        subresource=ctx.subresource,
        type=entry.type,
        now=clock.timestamp(),
        versions=entry.versions,
    )


def drop_duplicate_owners(obj: Object) -> None:
    """Keep the first of owner references that are equal."""
    owners = obj["metadata"].get("ownerReferences")
    if owners and isinstance(owners, list) and len(owners) > 1:
        unique: list[Object] = []
        for owner in owners:
            if owner not in unique:
                unique.append(owner)
        obj["metadata"]["ownerReferences"] = unique
