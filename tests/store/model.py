"""Random histories against a model of the store: a dict for each revision and a list of changes."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st

from coxswain.store.interface import ABSENT, ANY, Compacted, CompareFailed, Op, Store

KEYS = [f"/registry/pods/{namespace}/{name}" for namespace in "ab" for name in ("p", "q", "r")]


@dataclass
class Model:
    """What a store should hold: ``states[r]`` is key -> (value, created, modified) r commits after ``base``."""

    states: list[dict[str, tuple[bytes, int, int]]] = field(default_factory=lambda: [{}])
    changes: list[tuple[int, str, bytes | None]] = field(default_factory=list)
    base: int = 0
    oldest: int = 0

    def __post_init__(self) -> None:
        self.oldest = self.base

    @property
    def revision(self) -> int:
        return self.base + len(self.states) - 1

    def commit(self, ops: list[Op]) -> int | None:
        """The new revision, or None if a comparison fails."""
        now = self.states[-1]
        for op in ops:
            modified = now[op.key][2] if op.key in now else 0
            if op.expect not in (ANY, modified):
                return None
        state, revision, changed = dict(now), self.revision + 1, False
        for op in ops:
            if op.value is not None:
                created = now[op.key][1] if op.key in now else revision
                state[op.key] = (op.value, created, revision)
            elif op.key in now:
                del state[op.key]
            else:
                continue
            changed = True
            self.changes.append((revision, op.key, op.value))
        if changed:
            self.states.append(state)
        return self.revision


@dataclass(frozen=True)
class Step:
    """``ops`` have expectations relative to what is there: exact (True), stale (False) or any (None)."""

    ops: tuple[tuple[str, bytes | None, bool | None], ...] = ()
    compact: float | None = None


_OP = st.tuples(
    st.sampled_from(KEYS),
    st.one_of(st.none(), st.binary(min_size=1, max_size=8)),
    st.sampled_from([True, True, None, False]),
)
_COMMIT = st.lists(_OP, min_size=1, max_size=4, unique_by=lambda op: op[0]).map(
    lambda ops: Step(ops=tuple(ops))
)
_COMPACT = st.floats(0, 1).map(lambda share: Step(compact=share))
HISTORIES = st.lists(st.one_of(_COMMIT, _COMMIT, _COMMIT, _COMPACT), max_size=40)


async def play(store: Store, model: Model, history: list[Step]) -> None:
    """Do the same to both; they must answer alike."""
    for step in history:
        if step.compact is not None:
            revision = model.oldest + round(step.compact * (model.revision - model.oldest))
            await store.compact(revision)
            model.oldest = max(model.oldest, revision)
            continue
        now = model.states[-1]
        ops = []
        for key, value, exact in step.ops:
            modified = now[key][2] if key in now else ABSENT
            expect = ANY if exact is None else modified if exact else modified + 1
            ops.append(Op(key, value, expect))
        try:
            got: int | None = await store.commit(ops)
        except CompareFailed:
            got = None
        assert got == model.commit(ops)


async def compare(store: Store, model: Model) -> None:
    """Every revision that is kept, every watch that can start: equal to the model's."""
    assert store.revision == model.revision
    for revision in range(model.base + 1, model.revision + 1):
        try:
            page = await store.list("/registry/", revision=revision)
        except Compacted:
            assert revision < model.oldest
            continue
        assert revision >= model.oldest
        state = {entry.key: (entry.value, entry.created, entry.modified) for entry in page.entries}
        assert state == model.states[revision - model.base]
        assert list(state) == sorted(state)
    for start in range(model.oldest, model.revision):
        watch = store.watch("/registry/pods/a/", start)
        expected = [c for c in model.changes if c[0] > start and c[1].startswith("/registry/pods/a/")]
        seen: list[tuple[int, str, bytes | None]] = []
        while len(seen) < len(expected):
            seen += [(change.revision, change.key, change.value) for change in await watch.__anext__()]
        assert seen == expected
        watch.close()
