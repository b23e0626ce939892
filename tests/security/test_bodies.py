"""Bodies made to exhaust or confuse: refused with a clear 4xx, and the server goes on."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import orjson
import pytest

from security.attacks import ADMIN, Target, codes, serving

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
PROTOBUF = "application/vnd.kubernetes.protobuf"
YAML = "application/yaml"


def deep(opening: str, closing: str, depth: int, inner: str = "1") -> bytes:
    return (opening * depth + inner + closing * depth).encode()


LAUGHS = "a0: &a0 [lol,lol,lol,lol,lol,lol,lol,lol,lol]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{i}: &a{i} {{<<: [{','.join([f'*a{i - 1}'] * 9)}], b: *a{i - 1}, c: *a{i - 1}, d: *a{i - 1}}}\n"
    for i in range(1, 12)
)

BODIES: dict[str, tuple[bytes, str]] = {
    "deep lists": (deep("[", "]", 200_000), "application/json"),
    "deep objects": (deep('{"a":', "}", 200_000), "application/json"),
    "deep lists without end": (b"[" * 500_000, "application/json"),
    "deep metadata": (
        b'{"metadata":{"annotations":' + deep('{"a":', "}", 20_000) + b"}}",
        "application/json",
    ),
    "deep data": (b'{"metadata":{"name":"x"},"data":' + deep("[", "]", 20_000) + b"}", "application/json"),
    "a list": (b"[]", "application/json"),
    "a number": (b"1e400", "application/json"),
    "nothing": (b"", "application/json"),
    "null": (b"null", "application/json"),
    "not UTF-8": (b'{"metadata":{"name":"\xff\xfe"}}', "application/json"),
    "half a surrogate": (b'{"metadata":{"name":"\\ud800"}}', "application/json"),
    "a null byte": (b'{"metadata":{"name":"a\\u0000b"}}', "application/json"),
    "two objects": (b'{"metadata":{"name":"a"}}{"metadata":{"name":"b"}}', "application/json"),
    "another kind": (b'{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"}}', "application/json"),
    "another namespace": (b'{"metadata":{"name":"a","namespace":"kube-system"}}', "application/json"),
    "a million laughs": (LAUGHS.encode(), YAML),
    "a million merges": (MERGES.encode(), YAML),
    "deep YAML": (deep("[", "]", 100_000), YAML),
    "deep YAML blocks": ("".join(" " * i + "a:\n" for i in range(2_000)).encode(), YAML),
    "YAML of Python": (b"!!python/object/apply:os.system ['id']", YAML),
    "endless YAML anchor": (b"a: &a\n  b: *a\n", YAML),
    "binary YAML": (b"\x00\x01\x02\x03", YAML),
    "gzip as JSON": (gzip.compress(b"{}" * 1000), "application/json"),
    "an unknown type": (b"{}", "application/x-unknown"),
    "XML": (b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>', "application/xml"),
    "CBOR": (b"\xbf" * 1000, "application/cbor"),
    "protobuf without mark": (b"\x0a\x02v1", PROTOBUF),
    "protobuf of nothing": (b"k8s\x00", PROTOBUF),
    "protobuf cut short": (b"k8s\x00\x0a\xff", PROTOBUF),
    "protobuf of endless number": (b"k8s\x00" + b"\xff" * 100, PROTOBUF),
    "protobuf of huge length": (b"k8s\x00\x12\xff\xff\xff\xff\x0f", PROTOBUF),
    "protobuf of bad wire type": (b"k8s\x00\x0f\x0f\x0f", PROTOBUF),
    "protobuf with garbage inside": (
        b"k8s\x00\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x05\xff\xff\xff\xff\xff",
        PROTOBUF,
    ),
    "deep protobuf": (b"k8s\x00" + b"\x12\x7f" * 60_000, PROTOBUF),
    "protobuf of another kind": (b"k8s\x00\x0a\x0c\x0a\x02v1\x12\x06Secret\x12\x00", PROTOBUF),
}


async def test_bodies_that_are_no_objects_are_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as target:
        wrong: dict[str, Any] = {}
        for kind, (body, content_type) in BODIES.items():
            code, answer = await target.send("POST", CONFIGMAPS, body, token=ADMIN, Content_Type=content_type)
            if not 400 <= code < 500 or answer.get("kind") != "Status" or not answer.get("message"):
                wrong[kind] = code, str(answer)[:300]
        assert not wrong
        left = await target.must("GET", CONFIGMAPS)
        assert [item["metadata"]["name"] for item in left["items"]] in ([], ["kube-root-ca.crt"])
        assert await target.healthy()


async def test_the_same_bodies_are_refused_to_who_has_no_rights(tmp_path: Path) -> None:
    async with serving(tmp_path) as target:
        for kind, (body, content_type) in BODIES.items():
            code, _ = await target.send("POST", CONFIGMAPS, body, Content_Type=content_type)
            assert code == 403, kind


async def test_bodies_of_updates_patches_and_deletions(tmp_path: Path) -> None:
    async with serving(tmp_path) as target:
        await target.must("POST", CONFIGMAPS, {"metadata": {"name": "x"}, "data": {"a": "b"}})
        wrong: dict[str, Any] = {}
        for kind, (body, content_type) in BODIES.items():
            code, answer = await target.send(
                "PUT", f"{CONFIGMAPS}/x", body, token=ADMIN, Content_Type=content_type
            )
            # ``null`` is an object that says nothing: nothing is changed.
            if not 400 <= code < 500 and kind not in ("null", "protobuf of nothing"):
                wrong[f"PUT {kind}"] = code, str(answer)[:300]
            for patch in (
                "json-patch+json",
                "merge-patch+json",
                "strategic-merge-patch+json",
                "apply-patch+yaml",
            ):
                path = f"{CONFIGMAPS}/x" + ("?fieldManager=m" if "apply" in patch else "")
                code, answer = await target.send(
                    "PATCH", path, body, token=ADMIN, Content_Type=f"application/{patch}"
                )
                if code >= 500:
                    wrong[f"{patch} {kind}"] = code, str(answer)[:300]
            code, answer = await target.send(
                "DELETE", f"{CONFIGMAPS}/gone", body, token=ADMIN, Content_Type=content_type
            )
            if not 400 <= code < 500:
                wrong[f"DELETE {kind}"] = code, str(answer)[:300]
        assert not wrong
        assert await target.healthy()


async def _patch(target: Target, patch: Any, kind: str = "json-patch+json") -> tuple[int, Any]:
    return await target.send(
        "PATCH", f"{CONFIGMAPS}/x", patch, token=ADMIN, Content_Type=f"application/{kind}"
    )


async def test_patches_that_grow_are_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as target:
        await target.must("POST", CONFIGMAPS, {"metadata": {"name": "x"}, "data": {"a": "b" * 1000}})
        doubling = [{"op": "copy", "from": "/data", "path": f"/data/{i}"} for i in range(40)]
        assert (await _patch(target, doubling))[0] in (413, 422)
        many = [{"op": "test", "path": "/data/a", "value": "c"}] * 10_001
        assert (await _patch(target, many))[0] == 413
        wide = {"data": {str(i): "x" * 100 for i in range(20_000)}}
        assert (await _patch(target, wide, "merge-patch+json"))[0] == 422
        await target.must("GET", f"{CONFIGMAPS}/x")
        assert await target.healthy()


async def test_bodies_are_bounded(tmp_path: Path) -> None:
    async with serving(tmp_path) as target:
        big = b'{"metadata":{"name":"big"},"data":{"a":"' + b"x" * (4 << 20) + b'"}}'
        who = f"Authorization: Bearer {ADMIN}\r\nHost: x\r\nContent-Type: application/json"
        sized = f"POST {CONFIGMAPS} HTTP/1.1\r\n{who}\r\nContent-Length: {len(big)}\r\n\r\n".encode()
        assert codes(await target.raw(sized + big)) == [413]
        promised = f"POST {CONFIGMAPS} HTTP/1.1\r\n{who}\r\nContent-Length: 99999999999\r\n\r\n".encode()
        assert codes(await target.raw(promised)) == [413]
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        chunked = f"POST {CONFIGMAPS} HTTP/1.1\r\n{who}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        assert codes(await target.raw(chunked + chunk * 60)) == [413]
        assert await target.healthy()


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
async def test_compressed_bodies_do_not_grow(tmp_path: Path, encoding: str) -> None:
    async with serving(tmp_path) as target:
        bomb = gzip.compress(b'{"a":"' + b"x" * (64 << 20), 9)
        if encoding == "deflate":
            bomb = zlib.compress(b"x" * (64 << 20), 9)
        if encoding == "gzip, gzip":
            bomb = gzip.compress(bomb)
        code, answer = await target.send("POST", CONFIGMAPS, bomb, token=ADMIN, Content_Encoding=encoding)
        assert 400 <= code < 500
        assert answer["kind"] == "Status"
        assert await target.healthy()


async def test_queries_are_bounded(tmp_path: Path) -> None:
    async with serving(tmp_path) as target:
        await target.must("POST", CONFIGMAPS, {"metadata": {"name": "x"}})
        for query in (
            "labelSelector=" + "a," * 5_000 + "(",
            "labelSelector=a+in+(" + "b," * 5_000,
            "labelSelector=" + "(" * 10_000,
            "fieldSelector=" + "metadata.name=a," * 1_000 + "x",
            "fieldSelector=status.%00=1",
            "limit=-1&continue=" + "A" * 10_000,
            "limit=99999999999999999999",
            "continue=" + orjson.dumps({"v": "meta.k8s.io/v1", "rv": 1, "start": "../../secrets"}).hex(),
            "resourceVersion=-1",
            "resourceVersion=abc",
            "resourceVersionMatch=Exact",
            "&".join(f"a{i}=b" for i in range(2_000)),
        ):
            code, answer = await target.send("GET", f"{CONFIGMAPS}?{query}", token=ADMIN)
            assert code < 500, (query[:60], answer)
        assert await target.healthy()


async def test_a_continue_token_leads_nowhere_else(tmp_path: Path) -> None:
    import base64

    async with serving(tmp_path) as target:
        await target.must("POST", "/api/v1/namespaces/kube-system/secrets", {"metadata": {"name": "s"}})
        await target.must("POST", CONFIGMAPS, {"metadata": {"name": "x"}})
        for start in (
            "../../secrets/",
            "../kube-system/",
            "/registry/secrets/",
            "\x00",
            "a/../../..",
            "kube-system/",
        ):
            token = base64.urlsafe_b64encode(orjson.dumps({"v": "meta.k8s.io/v1", "rv": -1, "start": start}))
            code, answer = await target.send(
                "GET", f"{CONFIGMAPS}?limit=5&continue={token.decode().rstrip('=')}", token=ADMIN
            )
            names = [i["metadata"]["namespace"] for i in answer.get("items", ())]
            assert code < 500
            assert set(names) <= {"default"}, start
