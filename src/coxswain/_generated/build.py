"""Compiles ``proto/**/*.proto`` into ``descriptors.py``: ``python -m coxswain._generated.build``.

Needs grpcio-tools and a source checkout; the result needs neither.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
TARGET = Path(__file__).with_name("descriptors.py")

_HEAD = '"""Serialized FileDescriptorProtos, by file. Made by `make proto` from proto/; do not edit."""\n\n'
_WIDTH = 72


def compile_protos(proto: Path) -> dict[str, bytes]:
    """The serialized FileDescriptorProto of every file below ``proto``, dependencies first."""
    from google.protobuf import descriptor_pb2
    from grpc_tools import protoc

    sources = sorted(str(path.relative_to(proto)) for path in proto.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory, "descriptors")
        arguments = ["protoc", f"-I{proto}", f"--descriptor_set_out={out}", "--include_imports", *sources]
        if protoc.main(arguments) != 0:
            raise SystemExit("protoc failed")
        files = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    return {file.name: file.SerializeToString(deterministic=True) for file in files.file}


def render(files: dict[str, bytes]) -> str:
    """The module's text."""
    lines = [_HEAD, "FILES: dict[str, bytes] = {\n"]
    for name, data in files.items():
        lines.append(f"    {name!r}: (\n")
        lines += [f"        {data[at : at + _WIDTH]!r}\n" for at in range(0, len(data), _WIDTH)]
        lines.append("    ),\n")
    return "".join([*lines, "}\n"])


if __name__ == "__main__":
    TARGET.write_text(render(compile_protos(ROOT / "proto")), encoding="utf-8")
