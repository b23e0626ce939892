"""Go's regular expressions (RE2) as Python's: what differs in spelling is rewritten, what is missing refused.

Anchors mean the text's ends (``$`` does not match before a last newline), classes like ``[[:alpha:]]`` are spelled out,
``\\d`` and its kin are ASCII.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from coxswain.api import linear
from coxswain.base.memo import remembered

_POSIX: Final = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7f",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}


@remembered(4096)
def compiled(pattern: str) -> re.Pattern[str]:
    """The compiled pattern. Raises ``re.error``, also for what Python has and RE2 has not."""
    return re.compile(_translate(pattern), re.ASCII)


@remembered(4096)
def finder(pattern: str) -> Callable[[str], bool]:
    """Whether a text has the pattern, in time that grows with the text only. Raises ``re.error``."""
    plain = compiled(pattern).search
    return linear.searcher(_translate(pattern)) or (lambda text: plain(text) is not None)


def explain(pattern: str, error: re.error) -> str:
    """What is wrong with a pattern, in Go's words where Go has some for it."""
    at = error.pos or 0
    if "unterminated subpattern" in error.msg:
        return f"error parsing regexp: missing closing ): `{pattern}`"
    if "unterminated character set" in error.msg:
        return f"error parsing regexp: missing closing ]: `{pattern[at:]}`"
    if "unbalanced parenthesis" in error.msg:
        return f"error parsing regexp: unexpected ): `{pattern}`"
    if "nothing to repeat" in error.msg:
        return f"error parsing regexp: missing argument to repetition operator: `{pattern[at : at + 1]}`"
    if "multiple repeat" in error.msg:
        return f"error parsing regexp: invalid nested repetition operator: `{pattern[at - 1 : at + 1]}`"
    if "bad character range" in error.msg:
        return f"error parsing regexp: invalid character class range: `{pattern[at : at + 3]}`"
    return f"error parsing regexp: {error.msg}"


#: ``(?i)`` in the middle of a pattern, which holds until its group ends.
_FLAGS: Final = re.compile(r"\(\?([imsU]*)(?:-([imsU]+))?\)")


class _Flags:
    """Flags set inside groups, as groups of their own: ``a(?i)b|c`` becomes ``a(?i:b)|(?i:c)``."""

    def __init__(self) -> None:
        #: For each open group, the heads of those that were opened in it for its flags.
        self._open: list[list[str]] = [[]]

    def set(self, add: str, drop: str) -> str:
        """What opens when flags are set. Greediness does not change what is found."""
        add, drop = add.replace("U", ""), drop.replace("U", "")
        if not add and not drop:
            return ""
        head = f"(?{add}-{drop}:" if drop else f"(?{add}:"
        self._open[-1].append(head)
        return head

    def group(self) -> str:
        """A group opens."""
        self._open.append([])
        return "("

    def close(self) -> str:
        """A group closes."""
        heads = self._open.pop() if len(self._open) > 1 else []
        return ")" * (len(heads) + 1)

    def alternative(self) -> str:
        """``|``."""
        heads = self._open[-1]
        return ")" * len(heads) + "|" + "".join(heads)

    def end(self) -> str:
        """What is still open for the whole pattern."""
        return ")" * len(self._open[0]) if len(self._open) == 1 else ""


def _translate(pattern: str) -> str:
    out: list[str] = []
    position, in_class = 0, False
    flags = _Flags()
    multiline = re.search(r"\(\?[a-zA-Z]*m", pattern) is not None
    while position < len(pattern):
        char = pattern[position]
        if char == "\\":
            piece = pattern[position : position + 2]
            out.append(_escape(piece))
            position += 2
            continue
        if in_class:
            found = re.match(r"\[:(\^?)([a-z]+):\]", pattern[position:])
            if found is not None and not found[1] and found[2] in _POSIX:
                out.append(_POSIX[found[2]])
                position += found.end()
                continue
            out.append("\\[" if char == "[" else char)
            if char == "]":
                in_class = False
        elif char == "[":
            in_class = True
            start = re.match(r"\[\^?\]?", pattern[position:])
            assert start is not None
            out.append(start[0].replace("]", "\\]"))
            position += start.end()
            continue
        elif char == "+" and _repeats(pattern, position):
            # Python would not give back what it took.
            piece = pattern[position - 1 : position + 1]
            raise re.error(f"invalid nested repetition operator: `{piece}`", pattern, position)
        elif char == "$" and not multiline:
            out.append(r"\Z")
        elif char == "(" and (found := _FLAGS.match(pattern, position)) is not None:
            out.append(flags.set(found[1], found[2] or ""))
            position = found.end()
            continue
        elif pattern.startswith(("(?=", "(?!", "(?<=", "(?<!", "(?>"), position):
            raise re.error("invalid or unsupported Perl syntax", pattern, position)
        elif pattern.startswith("(?<", position):
            out.append(f"{flags.group()}?P<")
            position += 3
            continue
        elif char == "(":
            out.append(flags.group())
        elif char == ")":
            out.append(flags.close())
        elif char == "|":
            out.append(flags.alternative())
        else:
            out.append(char)
        position += 1
    return "".join(out) + flags.end()


_COUNTED: Final = re.compile(r"\{[0-9]+(,[0-9]*)?\}\Z")


def _repeats(pattern: str, position: int) -> bool:
    """Whether a repetition ends just before a place."""
    before = pattern[:position]
    last = before[-1:]
    if last not in ("*", "+", "?", "}") or before[-2:-1] == "\\" or before.endswith("(?"):
        return False
    return last != "}" or _COUNTED.search(before) is not None


def _escape(piece: str) -> str:
    if piece == r"\z":
        return r"\Z"
    if len(piece) == 2 and piece[1] in "123456789":
        raise re.error(f"invalid escape sequence: `{piece}`", piece, 0)
    return piece
