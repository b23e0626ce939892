"""Deployments: rollouts within their bounds, undo, pause, proportions, deadlines, collisions, history."""

from __future__ import annotations

import pytest

from controllers.workloads import World, a_deployment, world
from coxswain.api import meta
from coxswain.api.errors import Conflict, Timeout
from coxswain.api.names import DEPLOYMENTS, PODS, REPLICA_SETS
from coxswain.controllers.deployment.decide import reconcile
from coxswain.controllers.deployment.revisions import REVISION, build
from coxswain.controllers.deployment.rollout import MAX, UpdateSet
from coxswain.controllers.intorpercent import scaled


def set_image(it: World, image: str) -> None:
    it.edit(lambda d: d["spec"]["template"]["spec"]["containers"][0].update(image=image))


def shape(it: World) -> list[tuple[int, int]]:
    """(revision, size) of every replica set."""
    return sorted((int(meta.annotations(rs)[REVISION]), rs["spec"]["replicas"]) for rs in it.sets())


@pytest.mark.parametrize(
    ("value", "total", "up", "down"),
    [
        (3, 10, 3, 3),
        ("25%", 10, 3, 2),
        ("25%", 3, 1, 0),
        ("0%", 10, 0, 0),
        ("100%", 7, 7, 7),
        ("33%", 3, 1, 0),
    ],
)
def test_percentages_round_up_for_surge_and_down_for_unavailable(
    value: int | str, total: int, up: int, down: int
) -> None:
    assert (scaled(value, total, round_up=True), scaled(value, total, round_up=False)) == (up, down)


@pytest.mark.virtual
async def test_a_new_deployment_becomes_available() -> None:
    async with world() as it:
        it.api.add(DEPLOYMENTS, a_deployment())
        await it.settle()
        assert len(it.ready()) == 3
        name = meta.name(it.sets()[0])
        assert it.condition("Available") == (
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
        )
        assert it.condition("Progressing") == (
            "True",
            "NewReplicaSetAvailable",
            f'ReplicaSet "{name}" has successfully progressed.',
        )
        assert ("Normal", "ScalingReplicaSet", f"Scaled up replica set {name} from 0 to 3") in it.events()
        status = it.deployment()["status"]
        assert (status["replicas"], status["updatedReplicas"], status["availableReplicas"]) == (3, 3, 3)
        assert "unavailableReplicas" not in status
        assert meta.annotations(it.deployment())[REVISION] == "1"


@pytest.mark.virtual
async def test_a_rolling_update_keeps_within_surge_and_unavailability() -> None:
    async with world() as it:
        it.api.add(DEPLOYMENTS, a_deployment(replicas=10))
        await it.settle()
        seen: list[tuple[int, int]] = []
        it.watchers.append(lambda w: seen.append((len(w.active()), len(w.ready()))))
        set_image(it, "web:2")
        await it.settle(60)
        assert it.images() == ["web:2"] * 10
        assert max(total for total, _ in seen) <= 13
        assert min(ready for _, ready in seen) >= 8
        assert shape(it) == [(1, 0), (2, 10)]


@pytest.mark.virtual
async def test_undo_makes_the_old_replica_set_the_newest_revision() -> None:
    async with world() as it:
        it.api.add(DEPLOYMENTS, a_deployment())
        await it.settle()
        set_image(it, "web:2")
        await it.settle()
        set_image(it, "web:1")
        await it.settle()
        assert shape(it) == [(2, 0), (3, 3)]
        back = next(rs for rs in it.sets() if rs["spec"]["replicas"])
        assert meta.annotations(back)["deployment.kubernetes.io/revision-history"] == "1"
        assert meta.annotations(it.deployment())[REVISION] == "3"


@pytest.mark.virtual
async def test_recreate_never_runs_old_and_new_together() -> None:
    async with world() as it:
        it.api.add(DEPLOYMENTS, a_deployment(strategy={"type": "Recreate"}))
        await it.settle()
        mixed: list[set[str]] = []

        def watch(w: World) -> None:
            mixed.append({pod["spec"]["containers"][0]["image"] for pod in w.pods()})

        it.watchers.append(watch)
        set_image(it, "web:2")
        await it.settle(60)
        assert it.images() == ["web:2"] * 3
        assert all(len(images) <= 1 for images in mixed)


@pytest.mark.virtual
async def test_a_paused_deployment_does_not_roll_but_scales() -> None:
    async with world() as it:
        it.api.add(DEPLOYMENTS, a_deployment())
        await it.settle()
        it.edit(lambda d: d["spec"].update(paused=True))
        set_image(it, "web:2")
        await it.settle()
        assert it.images() == ["web:1"] * 3
        assert it.condition("Progressing") == ("Unknown", "DeploymentPaused", "Deployment is paused")
        it.edit(lambda d: d["spec"].update(replicas=5))
        await it.settle()
        assert it.images() == ["web:1"] * 5
        it.edit(lambda d: d["spec"].pop("paused"))
        await it.settle(60)
        assert it.images() == ["web:2"] * 5


@pytest.mark.virtual
async def test_scaling_during_a_rollout_is_proportional() -> None:
    async with world() as it:
        it.api.add(DEPLOYMENTS, a_deployment(replicas=10))
        await it.settle()
        it.broken.add("web:2")
        set_image(it, "web:2")
        await it.settle()
        assert shape(it) == [(1, 8), (2, 5)]
        it.edit(lambda d: d["spec"].update(replicas=20))
        await it.settle(5)
        sizes = dict(shape(it))
        assert sum(sizes.values()) == 25
        assert sizes[1] == 15
        assert all(meta.annotations(rs)[MAX] == "25" for rs in it.sets())


@pytest.mark.virtual
async def test_the_progress_deadline_passes_on_virtual_time() -> None:
    async with world() as it:
        it.broken.add("web:1")
        it.api.add(DEPLOYMENTS, a_deployment())
        await it.settle(590)
        progressing = it.condition("Progressing")
        assert progressing is not None
        assert progressing[0] == "True"
        await it.settle(20)
        name = meta.name(it.sets()[0])
        assert it.condition("Progressing") == (
            "False",
            "ProgressDeadlineExceeded",
            f'ReplicaSet "{name}" has timed out progressing.',
        )
        assert it.condition("Available") == (
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
        )


@pytest.mark.virtual
async def test_history_beyond_the_limit_is_removed_oldest_first() -> None:
    async with world() as it:
        it.api.add(DEPLOYMENTS, a_deployment(replicas=1, revisionHistoryLimit=2))
        for number in range(1, 6):
            set_image(it, f"web:{number}")
            await it.settle()
        assert [revision for revision, _ in shape(it)] == [3, 4, 5]


@pytest.mark.virtual
async def test_a_taken_name_makes_another_hash() -> None:
    async with world() as it:
        deployment = a_deployment()
        taken = build({**deployment, "metadata": {**deployment["metadata"], "uid": "x"}})
        del taken["metadata"]["ownerReferences"]
        taken["metadata"]["labels"] = {"other": "one"}
        taken["spec"]["selector"] = {"matchLabels": {"other": "one"}}
        taken["spec"]["template"] = {"metadata": {"labels": {"other": "one"}}, "spec": {"containers": []}}
        it.api.add(REPLICA_SETS, taken)
        it.api.add(DEPLOYMENTS, deployment)
        await it.settle()
        assert it.deployment()["status"]["collisionCount"] == 1
        assert it.images() == ["web:1"] * 3


@pytest.mark.virtual
async def test_an_orphaned_replica_set_is_adopted_not_doubled() -> None:
    async with world() as it:
        it.api.add(DEPLOYMENTS, a_deployment())
        await it.settle()
        it.api.change(
            REPLICA_SETS, meta.name(it.sets()[0]), "d", lambda rs: rs["metadata"].pop("ownerReferences")
        )
        await it.settle()
        assert len(it.sets()) == 1
        assert meta.is_controlled_by(it.sets()[0], it.deployment())


@pytest.mark.virtual
async def test_a_steady_deployment_is_not_written() -> None:
    async with world() as it:
        it.api.add(DEPLOYMENTS, a_deployment())
        await it.settle()
        before = len(it.api.writes())
        await it.settle(3600)
        assert it.api.writes()[before:] == []


@pytest.mark.virtual
@pytest.mark.parametrize("resource", [REPLICA_SETS, DEPLOYMENTS, PODS])
@pytest.mark.parametrize("verb", ["create", "update", "delete"])
@pytest.mark.parametrize("how", ["conflict", "lost answer", "lost watch", "compacted"])
async def test_a_rollout_converges_whatever_fails(resource, verb: str, how: str) -> None:
    async with world() as it:
        it.api.add(DEPLOYMENTS, a_deployment(replicas=4))
        await it.settle()
        match how:
            case "conflict":
                it.api.fail(verb, resource, Conflict("not now"), times=3)
            case "lost answer":
                it.api.lose_answer(verb, resource, times=2)
            case "lost watch":
                it.api.fail(verb, resource, Timeout("too slow"))
                it.api.drop_watches()
            case "compacted":
                it.api.drop_watches()
                it.api.compact()
        set_image(it, "web:2")
        await it.settle(900)
        assert it.images() == ["web:2"] * 4
        assert shape(it) == [(1, 0), (2, 4)]
        progressing = it.condition("Progressing")
        assert progressing is not None
        assert progressing[1] == "NewReplicaSetAvailable"


def test_deciding_changes_nothing_that_was_given() -> None:
    deployment = a_deployment(replicas=5)
    deployment["metadata"]["uid"] = "u"
    old = build(a_deployment(image="web:0") | {"metadata": deployment["metadata"]})
    old["metadata"] |= {"uid": "old", "annotations": {REVISION: "1"}}
    old["spec"]["replicas"] = 5
    old["status"] = {"replicas": 5, "availableReplicas": 5}
    given = [repr(deployment), repr(old)]
    instructions, _ = reconcile(deployment, [old], {}, 0.0)
    assert [repr(deployment), repr(old)] == given
    assert not any(isinstance(instruction, UpdateSet) for instruction in instructions)


@pytest.mark.virtual
async def test_a_note_of_another_size_holds_up_no_rollout() -> None:
    async with world() as it:
        it.api.add(DEPLOYMENTS, a_deployment(1))
        await it.settle()
        noted = {"deployment.kubernetes.io/desired-replicas": "2"}
        old = meta.name(it.sets()[0])
        it.api.change(REPLICA_SETS, old, "d", lambda rs: rs["metadata"]["annotations"].update(noted))
        wanted = a_deployment(1, "web:2")["spec"]["template"]
        it.api.change(DEPLOYMENTS, "web", "d", lambda one: one["spec"].update(template=wanted))
        await it.settle(60)
        assert [pod["spec"]["containers"][0]["image"] for pod in it.pods()] == ["web:2"]
