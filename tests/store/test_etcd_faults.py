"""What the etcd backend does beside the contract: other writers, faults, limits, TLS."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from coxswain.apiserver.pki import Pki
from coxswain.base import metrics
from coxswain.base.errors import ConfigurationError, ResourceUnavailable
from coxswain.store.etcd import MAX_OPS, EtcdSettings, EtcdStore
from coxswain.store.etcd_client import RANGE, EtcdClient
from coxswain.store.etcd_compaction import Compactor
from coxswain.store.interface import (
    ABSENT,
    Change,
    Compacted,
    Op,
    StoreError,
    StoreFull,
    StoreUnavailable,
    ValueTooLarge,
    Watch,
    passed,
)
from store.contract import facts, take
from store.etcd_server import Etcd, needs_etcd, running, running_cluster

pytestmark = needs_etcd

_numbers = itertools.count()


@pytest.fixture(scope="module")
def etcd() -> Iterator[Etcd]:
    with running() as server:
        yield server


def settings_for(*servers: str, prefix: str = "") -> EtcdSettings:
    prefix = prefix or f"/f{next(_numbers)}"
    return EtcdSettings(
        servers, prefix=prefix, compaction_interval=0.0, patience=0.2, timeout=5.0, probe_interval=0.2
    )


@asynccontextmanager
async def opened(settings: EtcdSettings, root: str = "/registry") -> AsyncIterator[EtcdStore]:
    async with await EtcdStore.open(settings, root=root) as store:
        yield store


async def until_it_commits(store: EtcdStore, op: Op) -> int:
    """The revision of ``op``, tried again for as long as etcd is away."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await store.commit([op])
            except StoreUnavailable:
                await asyncio.sleep(0.05)


async def until_problem(store: EtcdStore, wanted: bool) -> None:
    async with asyncio.timeout(20):
        while bool(store.problem) != wanted:  # noqa: ASYNC110 (etcd decides when)
            await asyncio.sleep(0.02)


async def test_keys_lie_where_kubernetes_keeps_them(etcd: Etcd) -> None:
    settings = settings_for(etcd.url, prefix="/registry")
    async with opened(settings) as store, opened(replace(settings, prefix=""), "") as raw:
        revision = await store.commit([Op("/registry/pods/default/web", b"{}")])
        entry = await raw.get("/registry/pods/default/web")
        assert entry is not None
        assert (entry.value, entry.modified) == (b"{}", revision)


async def test_two_stores_see_each_others_commits(etcd: Etcd) -> None:
    settings = settings_for(etcd.url)
    async with opened(settings) as one, opened(settings) as two:
        watch = two.watch("/registry/", two.revision)
        revision = await one.commit([Op("/registry/a", b"1")])
        assert await two.newest() >= revision
        assert facts(await take(watch, 1)) == [("/registry/a", b"1", revision)]
        later = await two.commit([Op("/registry/a", b"2", revision)])
        assert facts(await take(watch, 1)) == [("/registry/a", b"2", later)]
        assert await one.newest() == later


async def test_a_watch_tells_of_revisions_in_which_only_strangers_wrote(etcd: Etcd) -> None:
    settings = settings_for(etcd.url)
    async with opened(settings) as store, opened(settings_for(etcd.url)) as stranger:
        watch = store.watch("/registry/", store.revision)
        revision = await stranger.commit([Op("/registry/theirs", b"x")])
        assert await take(watch, 1) == [passed(revision)]


async def test_who_asks_at_one_time_shares_a_question_and_none_is_answered_from_before(etcd: Etcd) -> None:
    async with opened(replace(settings_for(etcd.url), probe_interval=60.0)) as store:
        await asyncio.sleep(0)
        asked = 0
        call = store._client.call

        async def counted(method: str, *arguments: object, **options: object) -> object:
            nonlocal asked
            asked += method == RANGE
            return await call(method, *arguments, **options)  # type: ignore[arg-type]

        store._client.call = counted  # type: ignore[method-assign,assignment]
        answers = await asyncio.gather(*(store.newest() for _ in range(100)))
        assert len(set(answers)) == 1
        assert asked == 1

        async def write_and_ask(number: int) -> None:
            revision = await store.commit([Op(f"/registry/{number}", b"x")])
            assert await store.newest() >= revision

        await asyncio.gather(*(write_and_ask(number) for number in range(50)))


async def test_whoever_wrote_a_value_gets_that_very_object_back(etcd: Etcd) -> None:
    async with opened(settings_for(etcd.url)) as store:
        watch = store.watch("/registry/", store.revision)
        values = [b"%d" % number * 100 for number in range(20)]
        await asyncio.gather(*(store.commit([Op(f"/registry/{i}", v)]) for i, v in enumerate(values)))
        seen = [change.value for change in await take(watch, 20)]
        assert {id(value) for value in seen} == {id(value) for value in values}
        assert not store._watches._own


async def test_a_list_is_read_in_pages_at_one_revision(etcd: Etcd) -> None:
    async with opened(replace(settings_for(etcd.url), page=7)) as store:
        for number in range(50):
            await store.commit([Op(f"/registry/{number:02d}", b"x")])

        async def disturb() -> None:
            for number in range(50):
                await store.commit([Op(f"/registry/{number:02d}", b"y")])

        disturber = asyncio.create_task(disturb())
        for _ in range(10):
            page = await store.list("/registry/")
            assert [entry.key for entry in page.entries] == [
                f"/registry/{number:02d}" for number in range(50)
            ]
            assert max(entry.modified for entry in page.entries) <= page.revision
            changed = [entry.value for entry in page.entries]
            assert changed == sorted(changed, reverse=True)
        await disturber
        part = await store.list("/registry/", limit=10, after="/registry/04")
        assert (part.entries[0].key, len(part.entries), part.remaining) == ("/registry/05", 10, 35)


async def test_what_etcd_does_not_take_is_refused_and_changes_nothing(etcd: Etcd) -> None:
    async with opened(settings_for(etcd.url)) as store:
        revision = store.revision
        for size in (1_600_000, 3_000_000):
            with pytest.raises(ValueTooLarge, match="larg"):
                await store.commit([Op("/registry/large", b"x" * size)])
        with pytest.raises(ValueError, match=str(MAX_OPS)):
            await store.commit([Op(f"/registry/{number}", b"x") for number in range(MAX_OPS + 1)])
        with pytest.raises(ValueError, match="begin with"):
            await store.commit([Op("/elsewhere", b"x")])
        assert await store.newest() == revision
        most = [Op(f"/registry/{number}", b"x", ABSENT) for number in range(MAX_OPS)]
        assert await store.commit(most) == revision + 1


async def test_compaction_is_one_servers_turn(etcd: Etcd) -> None:
    settings = settings_for(etcd.url)
    async with opened(settings) as store:
        clients = [EtcdClient(settings) for _ in range(2)]
        one, two = (Compactor(client) for client in clients)
        first = await store.commit([Op("/registry/a", b"1")])
        # Nobody knows a revision of one interval ago yet, and who comes second sees that it was the other's turn.
        assert [await one.take_turn(), await two.take_turn()] == [0, 0]
        second = await store.commit([Op("/registry/a", b"2")])
        done = [await two.take_turn(), await one.take_turn()]
        assert done[0] > first
        assert done[0] < second
        assert done[1] == 0
        with pytest.raises(Compacted):
            await store.list("/registry/", revision=first)
        # A watch learns from etcd of a compaction that this process did not do, and says how far it went.
        with pytest.raises(Compacted) as caught:
            await store.watch("/registry/", first).__anext__()
        assert caught.value.oldest == store.oldest == done[0]
        for client in clients:
            await client.close()


async def test_an_open_store_has_etcd_compacted_regularly(etcd: Etcd) -> None:
    quick = replace(settings_for(etcd.url), compaction_interval=0.1)
    async with opened(quick) as store:
        first = await store.commit([Op("/registry/a", b"1")])
        await store.commit([Op("/registry/a", b"2")])
        with pytest.raises(Compacted):
            async with asyncio.timeout(20):
                while (await store.list("/registry/", revision=first)).entries:  # noqa: ASYNC110 (etcd's turn)
                    await asyncio.sleep(0.05)
        assert [entry.value for entry in (await store.list("/registry/")).entries] == [b"2"]


async def until_revision(watch: Watch, revision: int) -> list[Change]:
    """What a watch tells up to ``revision``."""
    seen: list[Change] = []
    async with asyncio.timeout(20):
        while not seen or seen[-1].revision < revision:
            seen += await watch.__anext__()
    return seen


async def test_etcd_goes_away_and_comes_back() -> None:
    with running() as etcd:
        async with opened(settings_for(etcd.url)) as store:
            watch = store.watch("/registry/", store.revision)
            await store.commit([Op("/registry/a", b"1")])
            etcd.stop()
            with pytest.raises(StoreUnavailable):
                await store.commit([Op("/registry/a", b"2")])
            with pytest.raises(StoreUnavailable) as caught:
                await store.newest()
            assert not caught.value.undecided
            await until_problem(store, True)
            assert etcd.url.removeprefix("http://") in store.problem
            etcd.start()
            last = await until_it_commits(store, Op("/registry/a", b"3"))
            await until_problem(store, False)
            assert [change.value for change in await until_revision(watch, last)] == [b"1", b"3"]


async def test_a_frozen_etcd_is_a_problem_and_its_commits_are_undecided() -> None:
    with running() as etcd:
        async with opened(replace(settings_for(etcd.url), timeout=0.5)) as store:
            etcd.signal(signal.SIGSTOP)
            with pytest.raises(StoreUnavailable) as caught:
                await store.commit([Op("/registry/a", b"1")])
            assert caught.value.undecided
            await until_problem(store, True)
            etcd.signal(signal.SIGCONT)
            await until_problem(store, False)
            await until_it_commits(store, Op("/registry/b", b"1"))


async def test_another_member_is_asked_when_one_is_gone(etcd: Etcd) -> None:
    with running() as gone:
        # Two clusters of one member each: whom a question went to shows in what it finds.
        settings = settings_for(gone.url, etcd.url)
        async with opened(settings) as store:
            await store.commit([Op("/registry/here", b"x")])
            gone.stop()
            assert await store.get("/registry/here") is None
            await store.commit([Op("/registry/there", b"y")])
            await until_problem(store, False)
        async with opened(replace(settings, servers=(etcd.url,))) as other:
            assert await other.get("/registry/there") is not None


async def test_a_frozen_member_is_left_by_questions_and_watches() -> None:
    with running_cluster() as members:
        several = replace(settings_for(*(member.url for member in members)), timeout=1.0)
        async with opened(several) as store:
            await until_it_commits(store, Op("/registry/a", b"1"))
            watch = store.watch("/registry/", store.revision)
            used = next(member for member in members if member.url.endswith(store._client.endpoint))
            used.signal(signal.SIGSTOP)
            last = await until_it_commits(store, Op("/registry/a", b"2"))
            assert [change.value for change in await until_revision(watch, last)][-1] == b"2"
            assert not used.url.endswith(store._client.endpoint)
            used.signal(signal.SIGCONT)


async def test_a_full_etcd_refuses_what_needs_space_only() -> None:
    with running(["--quota-backend-bytes=2000000"]) as etcd:
        async with opened(settings_for(etcd.url)) as store:
            written = 0
            with pytest.raises(StoreFull, match="space"):
                for number in range(200):
                    await store.commit([Op(f"/registry/{number}", b"x" * 500_000)])
                    written += 1
            assert len((await store.list("/registry/")).entries) == written
            await store.commit([Op("/registry/0", None)])


async def test_who_is_not_there_at_the_start_is_named() -> None:
    absent = replace(settings_for("http://127.0.0.1:1"), start_timeout=0.3)
    with pytest.raises(ResourceUnavailable, match=r"127\.0\.0\.1:1"):
        await EtcdStore.open(absent)


@pytest.mark.parametrize("address", ["ftp://h:1", "http://", "http://h:99999", "unix:///tmp/x"])
async def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match="etcd-servers"):
        await EtcdStore.open(settings_for(address))


async def test_tls_shows_a_certificate_and_trusts_the_named_authority_only(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    serving, client = pki.serving(["127.0.0.1"]), pki.client("etcd-client", "root")
    flags = [
        f"--cert-file={serving.certificate_file}",
        f"--key-file={serving.key_file}",
        f"--trusted-ca-file={pki.ca.certificate_file}",
        "--client-cert-auth",
    ]
    with running(flags, "https") as etcd:
        plain = replace(settings_for(etcd.url), start_timeout=0.5, ca_file=pki.ca.certificate_file)
        named = replace(plain, certificate_file=client.certificate_file, key_file=client.key_file)
        async with opened(named) as store:
            assert await store.commit([Op("/registry/a", b"1")]) > 0
        strange = Pki(tmp_path / "strange").ca.certificate_file
        for wrong in (plain, replace(named, ca_file=strange)):
            with pytest.raises(ResourceUnavailable):
                await EtcdStore.open(wrong)
        with pytest.raises(ConfigurationError, match="etcd-keyfile"):
            await EtcdStore.open(replace(named, key_file=None))
        with pytest.raises(ConfigurationError, match="etcd-cafile"):
            await EtcdStore.open(replace(named, ca_file=tmp_path / "absent"))


@pytest.mark.skipif(shutil.which("etcdctl") is None, reason="etcdctl is not installed")
async def test_a_user_that_may_not_read_everything_is_told_so(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    serving, root, user = pki.serving(["127.0.0.1"]), pki.client("root", "root"), pki.client("user", "user")
    flags = [f"--cert-file={serving.certificate_file}", f"--key-file={serving.key_file}"]
    flags += [f"--trusted-ca-file={pki.ca.certificate_file}", "--client-cert-auth"]
    with running(flags, "https") as etcd:
        ca = pki.ca.certificate_file
        shown = {"certificate_file": root.certificate_file, "key_file": root.key_file}
        allowed = replace(settings_for(etcd.url, prefix="/mine"), ca_file=ca, **shown)
        options = [f"--cacert={ca}", f"--cert={root.certificate_file}", f"--key={root.key_file}"]
        for words in (
            "user add root --no-password",
            "user add user --no-password",
            "user grant-role root root",
            "role add mine",
            "role grant-permission mine --prefix=true readwrite /mine",
            "user grant-role user mine",
            "auth enable",
        ):
            command = ["etcdctl", f"--endpoints={etcd.url}", *options, *words.split()]
            done = subprocess.run(
                command, check=False, env={"ETCDCTL_API": "3"}, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
        async with opened(allowed) as store:
            await store.commit([Op("/registry/a", b"1")])
        with pytest.raises(ResourceUnavailable, match=r"permission denied.*read all keys"):
            await EtcdStore.open(
                replace(allowed, certificate_file=user.certificate_file, key_file=user.key_file)
            )


async def test_what_etcd_is_asked_is_counted(etcd: Etcd) -> None:
    def counted(name: str) -> float:
        return metrics.REGISTRY.get_sample_value(name, {"operation": "txn"}) or 0.0

    async with opened(settings_for(etcd.url)) as store:
        before = counted("etcd_request_duration_seconds_count"), counted("etcd_request_errors_total")
        await store.commit([Op("/registry/a", b"1")])
        with pytest.raises(ValueTooLarge):
            await store.commit([Op("/registry/a", b"x" * 3_000_000)])
        after = counted("etcd_request_duration_seconds_count"), counted("etcd_request_errors_total")
        assert after == (before[0] + 1, before[1] + 1)


async def test_a_closed_client_says_so(etcd: Etcd) -> None:
    async with opened(settings_for(etcd.url)) as store:
        await store.close()
        for refused in (store.newest(), store.get("/registry/a"), store.compact(1)):
            with pytest.raises(StoreError, match="closed"):
                await refused
