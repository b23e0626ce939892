"""The published site asks nobody else for anything."""

from __future__ import annotations

import base64
import hashlib
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2]))

from benchmarks.publish import PublishError, fetch, is_intact, make_offline

PAGE = """<html><head>
<script src="https://x.example/jquery-3.3.1.min.js" integrity="sha256-abc" crossorigin="anonymous"></script>
<link rel="stylesheet" href="https://x.example/a@3/bootstrap.min.css" integrity="sha256-abc" crossorigin="anonymous">
<script language="javascript" src="asv.js"></script></head>
<body><a href="https://example.com/project.html">x</a></body></html>"""


def site(tmp_path: Path) -> tuple[Path, Path]:
    html, vendor = tmp_path / "html", tmp_path / "vendor"
    (html / "graphs" / "a b").mkdir(parents=True)
    vendor.mkdir()
    (html / "index.html").write_text(PAGE)
    (html / "graphs" / "a b" / "x.json").write_text('[[1, "</script>"]]')
    for name in ("jquery-3.3.1.min.js", "bootstrap.min.css"):
        (vendor / name).write_text(name)
    return html, vendor


def test_libraries_and_data_are_beside_the_page(tmp_path: Path) -> None:
    html, vendor = site(tmp_path)
    assert make_offline(html, vendor) == 2
    page = (html / "index.html").read_text()
    assert page.count("https://") == 1  # the link that a reader may click
    assert '<script src="vendor/jquery-3.3.1.min.js"></script>\n    <script src="data.js"></script>' in page
    assert '<link rel="stylesheet" href="vendor/bootstrap.min.css">' in page
    assert (html / "vendor" / "bootstrap.min.css").read_text() == "bootstrap.min.css"
    data = (html / "data.js").read_text()
    assert '"graphs/a b/x.json"' in data
    assert "</script>" not in data
    assert make_offline(html, vendor) == 0
    assert (html / "index.html").read_text() == page


def test_a_page_without_what_it_needs_is_told(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="run asv publish first"):
        make_offline(tmp_path, tmp_path)
    html, vendor = site(tmp_path)
    (html / "index.html").write_text("<html></html>")
    with pytest.raises(PublishError, match="jQuery"):
        make_offline(html, vendor)


def test_what_was_fetched_has_the_hash_that_the_page_asks_for(tmp_path: Path) -> None:
    there = tmp_path / "there.js"
    there.write_bytes(b"content")
    good = "sha256-" + base64.b64encode(hashlib.sha256(b"content").digest()).decode()
    assert is_intact(b"content", f"sha512-x {good}")
    assert not is_intact(b"other", good)
    kept = fetch(there.as_uri(), good, tmp_path / "vendor")
    assert kept.read_bytes() == b"content"
    with pytest.raises(PublishError, match="hash"):
        fetch(there.as_uri(), good.swapcase(), tmp_path / "elsewhere")
