"""Compressed answers, for clients that accept gzip and are far enough away to gain by it.

Kubernetes compresses what is larger than 128 KiB, at zlib's fastest level. The work is done in the loop's
executor (zlib lets go of the interpreter), so that others are served meanwhile.
"""

from __future__ import annotations

import asyncio
import zlib

from coxswain.apiserver.http1 import Request

HEADERS = b"Content-Encoding: gzip\r\nVary: Accept-Encoding\r\n"

_FASTEST = 1
#: zlib's window, and 16 for a gzip header and trailer.
_GZIP = 16 + zlib.MAX_WBITS


def accepts_gzip(request: Request) -> bool:
    """Whether the client says that it can unpack gzip."""
    for clause in request.header(b"accept-encoding").split(","):
        coding, _, weight = clause.partition(";")
        if coding.strip() == "gzip":
            return weight.strip() not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


async def compressed(body: bytes) -> bytes:
    """``body`` in gzip."""
    return await asyncio.get_running_loop().run_in_executor(None, _compress, body)


def _compress(body: bytes) -> bytes:
    packer = zlib.compressobj(_FASTEST, zlib.DEFLATED, _GZIP)
    return packer.compress(body) + packer.flush()
