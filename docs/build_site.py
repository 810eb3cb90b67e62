#!/usr/bin/env python3
"""Builds the documentation as a site, and checks every link of it: `make docs`.

    python3 docs/build_site.py --out target/docs [--mdbook PATH]

mdBook reads one folder, and copies every file in it. The pages lie in several folders of the repository, so they are first copied to a folder
of their own, each at its place, with the files that they link to. Needs Python 3.9 or newer and mdBook 0.5.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

DOCS = Path(__file__).resolve().parent
REPOSITORY = DOCS.parent
LINK = re.compile(r"\]\(([^()\s]+)\)")
CODE = re.compile(r"^( *)(`{3,}).*?^ *\2 *$|`+[^`]*`+", re.MULTILINE | re.DOTALL)


def targets(page):
    """The files that a page links to."""
    for link in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8"))):
        parts = urlsplit(link)
        if not parts.scheme and parts.path:
            yield (page.parent / unquote(parts.path)).resolve()


def renamed(link, page):
    """A link as it is on the site: mdBook writes README.md as index.html, but does not change links to it, and shows the contents on every page."""
    if link.endswith("SUMMARY.md"):
        return os.path.relpath(REPOSITORY / "index.md", page.parent)
    return link.replace("README.md", "index.md")


def stage(folder):
    """Copies the book to a folder: the chapters of SUMMARY.md, and the other files that they link to."""
    summary = DOCS / "SUMMARY.md"
    chapters = list(targets(summary))
    source = folder / "src"
    for file in dict.fromkeys(chapters + [target for chapter in chapters for target in targets(chapter)]):
        place = source / file.relative_to(REPOSITORY)
        place.parent.mkdir(parents=True, exist_ok=True)
        if file in chapters:
            text = LINK.sub(lambda link: f"]({renamed(link[1], file)})", file.read_text(encoding="utf-8"))
            place.with_name(place.name.replace("README.md", "index.md")).write_text(text, encoding="utf-8")
        elif file.is_file():
            shutil.copyfile(file, place)

    def from_root(link):
        return f"]({os.path.relpath(DOCS / link[1], REPOSITORY).replace('README.md', 'index.md')})"

    (source / "SUMMARY.md").write_text(LINK.sub(from_root, summary.read_text(encoding="utf-8")), encoding="utf-8")
    for name in ("book.toml", "site.css"):
        shutil.copyfile(DOCS / name, folder / name)


class Page(HTMLParser):
    """The links and anchors of a page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors = [], {"", "top"}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors.update(value for key in ("id", "name") if (value := attributes.get(key)))
        key = "href" if tag in ("a", "link") else "src"
        if attributes.get(key):
            self.links.append(attributes[key])


def broken_links(site):
    """The links of the pages that lead nowhere."""
    pages = {path.resolve(): Page(path) for path in site.rglob("*.html")}
    broken = []
    for path, page in pages.items():
        if path.name in ("404.html", "toc.html"):  # Their links depend on the address.
            continue
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            there = target in pages and unquote(parts.fragment) in pages[target].anchors
            if not (there or target not in pages and target.is_file()):
                broken.append(f"{path.relative_to(site.resolve())}: {link}")
    return broken


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the site; it is replaced")
    parser.add_argument("--mdbook", default="mdbook", help="the program mdBook")
    arguments = parser.parse_args()
    site = arguments.out.resolve()
    with tempfile.TemporaryDirectory() as folder:
        stage(Path(folder))
        subprocess.run([arguments.mdbook, "build", folder, "--dest-dir", site], check=True)
    broken = broken_links(site)
    if broken:
        sys.exit("\n".join(["links that lead nowhere:", *broken]))
    print(f"{sum(1 for _ in site.rglob('*.html'))} pages: {site / 'index.html'}")


if __name__ == "__main__":
    main()
