"""Makes the site of ``asv publish`` open anywhere, without a network and without a web server.

    make bench-publish      (asv publish, then this)      ->  build/asv/html/index.html

asv's page loads its libraries from content delivery networks, and its data by requests, which browsers refuse for
``file:`` pages. Here the libraries are fetched once into ``build/asv/vendor`` and copied beside the page, and the data
goes into a script. A library comes from where the page names it, or, where that host is not reached, from the npm
package of the same version through ``npm``; it is checked against the page's own integrity hash, except where the
package has another build of it (not minified; npm has checked that).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = "data.js"

#: Library -> (npm package, file in it). Those marked * are not the build that the page names.
_PACKAGES = {
    "jquery-3.3.1.min.js": ("jquery@3.3.1", "dist/jquery.min.js"),
    "jquery.flot.min.js": ("jquery.flot@0.8.3", "jquery.flot.js"),  # *
    "jquery.flot.time.min.js": ("jquery.flot@0.8.3", "jquery.flot.time.js"),  # *
    "jquery.flot.selection.min.js": ("jquery.flot@0.8.3", "jquery.flot.selection.js"),  # *
    "jquery.flot.categories.min.js": ("jquery.flot@0.8.3", "jquery.flot.categories.js"),  # *
    "jquery.flot.orderBars.js": ("flot-orderbars@1.0.0", "js/jquery.flot.orderBars.js"),
    "stupidtable.min.js": ("stupid-table-plugin@1.1.3", "stupidtable.min.js"),  # *
    "md5.min.js": ("blueimp-md5@2.19.0", "js/md5.min.js"),
    "bootstrap.min.js": ("bootstrap@3.1.1", "dist/js/bootstrap.min.js"),
    "bootstrap.min.css": ("bootstrap@3.1.1", "dist/css/bootstrap.min.css"),
}
_OTHER_BUILD = {name for name in _PACKAGES if name.startswith("jquery.flot.") and "order" not in name}
_OTHER_BUILD.add("stupidtable.min.js")

_TAG = re.compile(r"<(?:script|link)\b[^>]*?\b(?:src|href)=\"(https://[^\"]+\.(?:js|css))\"[^>]*>")
_INTEGRITY = re.compile(r"\bintegrity=\"([^\"]+)\"")

#: Answers the page's requests for files that the site has from memory.
_SHIM = """
(function () {
    var request = $.ajax;
    $.ajax = function (options) {
        var name = decodeURIComponent((options.url || "").split("?")[0]);
        var known = Object.prototype.hasOwnProperty.call(FILES, name);
        if (!known && !/[.]json$/.test(name)) { return request.apply(this, arguments); }
        var answer = $.Deferred();
        // Later, as a request would be: the page's parts have not all registered yet.
        setTimeout(function () { known ? answer.resolve(JSON.parse(FILES[name])) : answer.reject(); }, 0);
        return answer.promise();
    };
})();
"""


class PublishError(Exception):
    """What is wrong, and what to do about it."""


def make_offline(site: Path, vendor: Path) -> int:
    """Change the site in place; how many libraries it has beside it now. Raises ``PublishError``."""
    index = site / "index.html"
    if not index.exists():
        raise PublishError(f"{index} does not exist: run asv publish first")
    page = index.read_text()
    libraries = site / "vendor"
    libraries.mkdir(exist_ok=True)
    count = 0
    for found in list(_TAG.finditer(page)):
        tag, url = found.group(0), found.group(1)
        integrity = _INTEGRITY.search(tag)
        kept = fetch(url, integrity.group(1) if integrity else "", vendor)
        shutil.copy(kept, libraries / kept.name)
        page = page.replace(tag, _local(tag, url, f"vendor/{kept.name}"))
        count += 1
    (site / DATA).write_text(_data(site))
    if f'src="{DATA}"' not in page:
        first = re.search(r"<script[^>]*src=\"vendor/jquery-[^>]*></script>", page)
        if first is None:
            raise PublishError("asv's page does not load jQuery as it used to: look at benchmarks/publish.py")
        page = page[: first.end()] + f'\n    <script src="{DATA}"></script>' + page[first.end() :]
    index.write_text(page)
    return count


def _local(tag: str, url: str, path: str) -> str:
    tag = tag.replace(url, path)
    return re.sub(r"\s(?:integrity|crossorigin|referrerpolicy)=\"[^\"]*\"", "", tag)


def _data(site: Path) -> str:
    files = {str(path.relative_to(site)): path.read_text() for path in sorted(site.rglob("*.json"))}
    # "</" would end the script early if a page were made of it.
    return f"var FILES = {json.dumps(files)};\n".replace("</", "<\\/") + _SHIM


def fetch(url: str, integrity: str, vendor: Path) -> Path:
    """The library at ``url``, from ``vendor`` if it was fetched before. Raises ``PublishError``."""
    name = url.rpartition("/")[2]
    kept = vendor / name
    if kept.exists():
        return kept
    vendor.mkdir(parents=True, exist_ok=True)
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            content = answer.read()
        checked = not integrity or is_intact(content, integrity)
    except (urllib.error.URLError, TimeoutError, OSError):
        content = _from_package(name, vendor)
        checked = name in _OTHER_BUILD or not integrity or is_intact(content, integrity)
    if not checked:
        raise PublishError(f"{name}: what was fetched does not have the hash that asv's page asks for")
    kept.write_bytes(content)
    return kept


def is_intact(content: bytes, integrity: str) -> bool:
    """Whether ``content`` has one of the hashes of an integrity attribute (``sha256-...``)."""
    for each in integrity.split():
        algorithm, _, wanted = each.partition("-")
        if base64.b64encode(hashlib.new(algorithm, content).digest()).decode() == wanted:
            return True
    return False


def _from_package(name: str, vendor: Path) -> bytes:
    package, path = _PACKAGES.get(name, ("", ""))
    npm = shutil.which("npm")
    if not package or npm is None:
        raise PublishError(
            f"{name} is needed once from the network: connect, or install npm, and run make bench-publish again"
        )
    packed = subprocess.run(
        [npm, "pack", "--json", "--pack-destination", str(vendor), package],
        capture_output=True,
        text=True,
        check=False,
    )
    if packed.returncode:
        raise PublishError(f"npm pack {package} failed: {packed.stderr.strip()[-300:]}")
    archive = vendor / json.loads(packed.stdout)[0]["filename"]
    with tarfile.open(archive) as files:
        member = files.extractfile(f"package/{path}")
        if member is None:
            raise PublishError(f"npm's {package} has no {path}")
        content = member.read()
    archive.unlink()
    return content


def main() -> int:
    """Make the site that asv.conf.json names open offline."""
    site = ROOT / json.loads((ROOT / "asv.conf.json").read_text())["html_dir"]
    try:
        count = make_offline(site, ROOT / "build/asv/vendor")
    except PublishError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{site / 'index.html'} opens without a network: {count} libraries are beside it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
