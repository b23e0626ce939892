"""How property names are said in CEL: what is no identifier, or a reserved word, is spelled out.

unescape("a__dash__b") == "a-b"        escape("a-b") == "a__dash__b"
"""

from __future__ import annotations

import re
from typing import Final

_ESCAPES: Final = {"__underscores__": "__", "__dot__": ".", "__dash__": "-", "__slash__": "/"}
_KEYWORDS: Final = frozenset(
    (
        *("true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if"),
        *("import", "let", "loop", "package", "namespace", "return", "var", "void", "while"),
    )
)
_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SPELLED: Final = re.compile(r"__|[./-]")
_CODES: Final = {meant: code for code, meant in _ESCAPES.items()}
_FOUND: Final = re.compile("|".join(_ESCAPES))


def unescape(name: str) -> str:
    """A property's name from the form that CEL can say."""
    if "__" not in name:
        return name
    if name.startswith("__") and name.endswith("__") and name[2:-2] in _KEYWORDS:
        return name[2:-2]
    return _FOUND.sub(lambda found: _ESCAPES[found[0]], name)


def escape(name: str) -> str | None:
    """How a property is called in CEL; None where it cannot be."""
    if name in _KEYWORDS:
        return f"__{name}__"
    made = _SPELLED.sub(lambda found: _CODES[found[0]], name)
    return made if _PLAIN.fullmatch(made) else None
