"""Headers that a connection has sent before: who may do what is asked anew for every request."""

from __future__ import annotations

from pathlib import Path

from security.attacks import ADMIN, JANE, NOBODY, serving

SECRETS = "/api/v1/namespaces/default/secrets"
REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
BINDING = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/of-jane"
REVIEW = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}


async def test_permissions_begin_and_end_between_equal_requests(tmp_path: Path) -> None:
    async with serving(tmp_path) as target:

        async def ask() -> list[int]:
            return [(await target.send("GET", SECRETS, token=JANE))[0] for _ in range(3)]

        assert await ask() == [403] * 3
        await target.grant("jane", {"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]})
        assert await ask() == [200] * 3
        await target.must("DELETE", BINDING)
        assert await ask() == [403] * 3


async def test_a_token_that_was_good_is_refused_once_its_account_is_gone(tmp_path: Path) -> None:
    async with serving(tmp_path) as target:
        await target.must("POST", ACCOUNTS, {"metadata": {"name": "robot"}})
        made = await target.must("POST", f"{ACCOUNTS}/robot/token", {"spec": {}})
        token = made["status"]["token"]
        assert [(await target.send("GET", SECRETS, token=token))[0] for _ in range(3)] == [403] * 3
        await target.must("DELETE", f"{ACCOUNTS}/robot")
        assert [(await target.send("GET", SECRETS, token=token))[0] for _ in range(3)] == [401] * 3


async def test_callers_that_share_a_connection_stay_themselves(tmp_path: Path) -> None:
    async with serving(tmp_path) as target:

        async def name(token: str = "", **headers: str) -> str:
            code, answer = await target.send("POST", REVIEWS, REVIEW, token=token, **headers)
            return answer["status"]["userInfo"]["username"] if code == 201 else str(code)

        for _ in range(3):
            # One at a time: all use the same connection.
            assert await name(ADMIN) == "admin"
            assert await name(JANE) == "jane"
            assert await name(ADMIN, Impersonate_User="jane") == "jane"
            assert await name(NOBODY, Impersonate_User="jane") == "403"
            assert await name("wr0ng") == "401"
            assert await name(NOBODY) == "nobody"
        assert target.server._rest is not None
        assert target.server._rest._server is not None
        (connection,) = target.server._rest._server.connections
        assert len(connection._heads._known) == 6


async def test_audit_ids_are_told_apart(tmp_path: Path) -> None:
    async with serving(tmp_path) as target:
        ids = set()
        for _ in range(5):
            async with target.session.get(f"{target.server.url}/version") as answer:
                ids.add(answer.headers["Audit-Id"])
        assert len(ids) == 5
        assert {len(one) for one in ids} == {36}
