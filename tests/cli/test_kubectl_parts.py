"""The pure parts of the kubectl-like verbs: flags, templates, alignment, the patch that apply sends."""

from __future__ import annotations

import argparse

import pytest

from coxswain.api import schema
from coxswain.api.names import GVK
from coxswain.cli.kubectl import delete, flags, jsonpath
from coxswain.cli.kubectl.describe.sheet import align
from coxswain.cli.kubectl.printing import TableWriter
from coxswain.cli.kubectl.threeway import three_way


def read(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="cox delete")
    delete.configure(parser)
    return flags.parse_args(parser, argv)


def test_flags_and_words_come_in_any_order() -> None:
    args = read("pod", "-Rn", "x", "a", "--wait=false", "--dry-run", "b", "--", "-c")
    assert args.words == ["pod", "a", "b"]
    assert (args.namespace, args.recursive, args.wait, args.dry_run) == ("x", True, False, "unchanged")
    assert args.command == ["-c"]


def test_an_unknown_flag_leaves_with_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        read("--foo")
    assert "unknown flag: --foo" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{.l[*].n}", "x y"),
        (r"{.b\.c}", "1"),
        ('{.l[?(@.n=="y")].v}', "2"),
        ("{range .l[*]}{.n}{'\\n'}{end}", "x\ny\n"),
        ("{.l[-1:].n}|{.missing}", "y|"),
    ],
)
def test_jsonpath_templates(template: str, text: str) -> None:
    obj = {"b.c": 1, "l": [{"n": "x", "v": 1}, {"n": "y", "v": 2}]}
    assert jsonpath.evaluate(jsonpath.parse(template), obj) == text


def test_tables_are_spaced_as_kubectl_does() -> None:
    assert TableWriter().text([["N", "I"], ["a", "x"]]) == "N     I\na     x\n"


def test_blocks_of_a_description_align_apart() -> None:
    assert align([["a:", "1"], ["long:", "2"], ["x"], ["b:", "3"]], 2) == [
        "a:     1",
        "long:  2",
        "x",
        "b:  3",
    ]


def test_apply_removes_only_what_it_once_set() -> None:
    def deployment(*containers: dict[str, object]) -> dict[str, object]:
        return {"spec": {"template": {"spec": {"containers": list(containers)}}}}

    shape = schema.type_of(GVK("apps", "v1", "Deployment"))
    before = deployment({"name": "a", "image": "1"}, {"name": "b", "image": "1"})
    wanted = deployment({"name": "a", "image": "2"})
    live = deployment(*({"name": name, "image": "1"} for name in "abc"))
    spec = three_way(before, wanted, live, shape)["spec"]["template"]["spec"]
    assert spec["containers"] == [{"name": "a", "image": "2"}, {"$patch": "delete", "name": "b"}]
    assert three_way(wanted, wanted, wanted, shape) == {}
