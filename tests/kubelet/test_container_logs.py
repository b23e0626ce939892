"""Container logs: written and rotated by the shim, read back by the kubelet."""

from __future__ import annotations

from pathlib import Path

from coxswain.kubelet import logs
from coxswain.kubelet.logs import LogOptions
from coxswain.kubelet.runtime.process.shim import Log


async def shown(path: Path, **options: object) -> bytes:
    async def running() -> bool:
        return False

    pieces = [piece async for piece in logs.read(str(path), LogOptions(**options), running)]  # type: ignore[arg-type]
    return b"".join(pieces)


async def test_lines_survive_rotation_in_order(tmp_path: Path) -> None:
    path = tmp_path / "c" / "0.log"
    log = Log(str(path), 500, 100)
    for number in range(100):
        log.feed("stdout", f"line {number}\n".encode())
    assert len(list(path.parent.iterdir())) > 5
    expected = b"".join(f"line {number}\n".encode() for number in range(100))
    assert await shown(path) == expected
    assert await shown(path, tail_lines=30) == b"".join(f"line {n}\n".encode() for n in range(70, 100))
    assert await shown(path, tail_lines=0) == b""
    assert await shown(path, limit_bytes=10) == expected[:10]
    assert await shown(path, since=9e9) == b""


async def test_only_the_newest_files_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "c" / "0.log"
    log = Log(str(path), 200, 3)
    for number in range(100):
        log.feed("stdout", f"line {number}\n".encode())
    assert len(list(path.parent.iterdir())) == 3
    assert (await shown(path)).endswith(b"line 98\nline 99\n")


async def test_long_and_unfinished_lines_come_back_whole(tmp_path: Path) -> None:
    path = tmp_path / "c" / "0.log"
    log = Log(str(path), 1 << 20, 3)
    long = b"x" * 40_000
    log.feed("stdout", long + b"\nshort\n")
    log.feed("stderr", b"no end")
    log.finish()
    assert await shown(path) == long + b"\nshort\nno end\n"
    assert await shown(path, stream="stderr") == b"no end\n"
    assert await shown(path, tail_lines=2) == b"short\nno end\n"
    stamped = await shown(path, tail_lines=1, timestamps=True)
    assert stamped.startswith(b"20") and stamped.endswith(b"Z no end\n")
