"""Eviction: a deletion that asks the pod's disruption budget first (``pods/eviction``)."""

from __future__ import annotations

from coxswain.api import codec, errors, meta, selectors
from coxswain.api.names import GVK, GVR, Object
from coxswain.apiserver.options import DeleteOptions, delete_options, write_options
from coxswain.apiserver.representation import status_reply
from coxswain.apiserver.request import Context, Core, Reply
from coxswain.apiserver.verbs import decoding, delete, writing
from coxswain.apiserver.watchcache import Item
from coxswain.base import clock
from coxswain.store.interface import CompareFailed

EVICTION = GVK("policy", "v1", "Eviction")
BUDGETS = GVR("policy", "v1", "poddisruptionbudgets")

_ATTEMPTS = 20
_TOO_MANY_DISRUPTED = 2000
_REFUSAL = "Cannot evict pod as it would violate the pod's disruption budget."


async def create(core: Core, ctx: Context) -> Reply:
    """Evict a pod; 201 with a Status, or 429 when its budget does not allow it now."""
    options = write_options(ctx.query, "CreateOptions")
    eviction = codec.decode(ctx.body, ctx.content_type, EVICTION, options.field_validation).obj
    name = decoding.with_metadata(eviction)["metadata"].get("name")
    if name and name != ctx.name:
        raise errors.BadRequest("name in URL does not match name in Eviction object")
    chosen = _delete_options(eviction, options.dry_run)
    request = writing.admission_request(ctx, "CREATE", options, eviction, None)
    await writing.admit(core, request)
    await core.storage.catch_up()
    cache = ctx.entry.cache
    item = cache.get(ctx.namespace, ctx.name) if cache is not None else None
    if item is None:
        raise errors.not_found(ctx.entry.gvr, ctx.name)
    pod = item.decode()
    if not _ignores_budget(pod):
        await _spend_budget(core, ctx, pod, chosen.dry_run)
    if not chosen.dry_run and meta.is_pod_active(pod):
        await _note_disruption(core, ctx, item, pod)
    victim = Context(ctx.entry, "delete", ctx.user, ctx.namespace, ctx.name, warnings=ctx.warnings)
    await delete.delete_object(core, victim, chosen)
    success = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
    return status_reply(ctx, 201, success)


def _delete_options(eviction: Object, dry_run: bool) -> DeleteOptions:
    raw = eviction.get("deleteOptions") or {}
    options = delete_options({}, codec.encode({**raw, "kind": "DeleteOptions"}) if raw else b"")
    options.dry_run = options.dry_run or dry_run
    return options


def _ignores_budget(pod: Object) -> bool:
    """Pods that have ended, have not begun, or are going already do not count for budgets."""
    phase = meta.pod_phase(pod)
    return phase in ("Succeeded", "Failed", "Pending") or meta.is_terminating(pod)


def _budgets_of(core: Core, pod: Object) -> list[Object]:
    labels = meta.labels(pod)
    return [
        budget
        for budget in core.registry.lookup.list(BUDGETS, meta.namespace(pod))
        if selectors.label_selector_from((budget.get("spec") or {}).get("selector")).matches(labels)
    ]


async def _spend_budget(core: Core, ctx: Context, pod: Object, dry_run: bool) -> None:
    budgets = _budgets_of(core, pod)
    if not budgets:
        return
    if len(budgets) > 1:
        raise errors.InternalError(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        )
    entry = core.registry.get(BUDGETS)
    assert entry is not None and entry.cache is not None
    name = meta.name(budgets[0])
    for _ in range(_ATTEMPTS):
        item = entry.cache.get(ctx.namespace, name)
        if item is None:
            return
        budget = item.decode()
        if _unhealthy_may_go(pod, budget):
            return
        _take_one(budget, ctx.name)
        if dry_run:
            return
        budget["metadata"].pop("resourceVersion", None)
        try:
            await writing.commit(core, entry, budget, item.revision)
            return
        except CompareFailed:
            await core.storage.catch_up()
    raise _too_many("couldn't update PodDisruptionBudget due to conflicts", "", 1)


def _unhealthy_may_go(pod: Object, budget: Object) -> bool:
    """Whether the pod is not ready and its budget lets such pods go."""
    if meta.is_pod_ready(pod):
        return False
    policy = (budget.get("spec") or {}).get("unhealthyPodEvictionPolicy") or "IfHealthyBudget"
    status = budget.get("status") or {}
    desired = status.get("desiredHealthy") or 0
    return policy == "AlwaysAllow" or ((status.get("currentHealthy") or 0) >= desired and desired > 0)


def _take_one(budget: Object, pod: str) -> None:
    """Count the disruption in ``budget``, in place, or raise."""
    name = meta.name(budget)
    status = dict(budget.get("status") or {})
    if (status.get("observedGeneration") or 0) < meta.generation(budget):
        why = f"The disruption budget {name} is still being processed by the server."
        raise _too_many(_REFUSAL, why, 10)
    allowed = status.get("disruptionsAllowed") or 0
    if allowed < 0:
        raise errors.forbidden(BUDGETS, name, "pdb disruptions allowed is negative")
    disrupted = dict(status.get("disruptedPods") or {})
    if len(disrupted) > _TOO_MANY_DISRUPTED:
        raise errors.forbidden(
            BUDGETS, name, "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        )
    if allowed == 0:
        why = (
            f"The disruption budget {name} needs {status.get('desiredHealthy') or 0} healthy pods "
            f"and has {status.get('currentHealthy') or 0} currently"
        )
        raise _too_many(_REFUSAL, why, None)
    status["disruptionsAllowed"] = allowed - 1
    disrupted[pod] = clock.timestamp()
    status["disruptedPods"] = disrupted
    budget["status"] = status


def _too_many(message: str, cause: str, retry_after: int | None) -> errors.TooManyRequests:
    details = {"causes": [{"reason": "DisruptionBudget", "message": cause}]} if cause else None
    return errors.TooManyRequests(message, details=details, retry_after=retry_after)


async def _note_disruption(core: Core, ctx: Context, item: Item, pod: Object) -> None:
    """Say on the pod why it goes; losing this race does no harm."""
    now = clock.timestamp()
    condition: Object = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
        "lastProbeTime": None,
        "lastTransitionTime": now,
    }
    if not meta.set_condition(pod, condition, now=now):
        return
    pod["metadata"].pop("resourceVersion", None)
    try:
        await writing.commit(core, ctx.entry, pod, item.revision)
    except CompareFailed:
        return
