#!/usr/bin/env python3
"""Chunks of the documentation in Debian packages, as JSON lines {"source", "text"}, in an order that does not depend on the machine.

usage: corpus.py DIRECTORY OUTPUT [COUNT]

DIRECTORY holds the unpacked packages; a package that is not there is not missed. Chunks are the text of neighbouring blocks of one HTML page, 80 to 360 characters, each once.
"""

import hashlib
import json
import sys
from html.parser import HTMLParser
from pathlib import Path

LEAST, MOST = 80, 360
BLOCKS = {"p", "li", "dd", "dt", "pre", "td", "th", "h1", "h2", "h3", "h4", "h5", "h6", "div", "tr", "section"}
SKIPPED = {"script", "style", "nav", "head", "footer", "form", "svg"}


class Blocks(HTMLParser):
    """The text of a page, block by block."""

    def __init__(self):
        super().__init__()
        self.blocks, self.words, self.skipped = [], [], 0

    def handle_starttag(self, tag, attrs):
        self.skipped += tag in SKIPPED
        if tag in BLOCKS:
            self.end_block()

    def handle_endtag(self, tag):
        if tag in SKIPPED and self.skipped:
            self.skipped -= 1
        if tag in BLOCKS:
            self.end_block()

    def handle_data(self, data):
        if not self.skipped:
            self.words += data.replace("\u00b6", " ").split()

    def end_block(self):
        if self.words:
            self.blocks.append(" ".join(self.words))
            self.words = []


def chunks(page):
    parser = Blocks()
    parser.feed(page)
    parser.end_block()
    chunk = ""
    for block in parser.blocks:
        while block:
            room = MOST - len(chunk) - 1
            if len(block) > room and len(chunk) >= LEAST:
                yield chunk
                chunk = ""
                continue
            cut = block if len(block) <= room else block[:room].rsplit(" ", 1)[0]
            chunk = f"{chunk} {cut}".strip()
            block = block[len(cut) :].strip()
            if len(cut) == room:
                yield chunk
                chunk = ""
    if len(chunk) >= LEAST:
        yield chunk


def main(directory, output, count):
    seen, found = set(), []
    for path in sorted(Path(directory).rglob("*.html")):
        if path.is_symlink() or path.name.startswith(("genindex", "search")):
            continue
        source = str(path.relative_to(directory)).split("usr/share/doc/", 1)[-1]
        for text in chunks(path.read_text("utf-8", "replace")):
            key = hashlib.blake2b(text.encode(), digest_size=16).digest()
            if key not in seen:
                seen.add(key)
                found.append((key, source, text))
    # a sample of all pages, in an order that has nothing to do with them
    found.sort()
    with open(output, "w", encoding="utf-8") as lines:
        for _, source, text in found[:count]:
            lines.write(json.dumps({"source": source, "text": text}, ensure_ascii=False) + "\n")
    print(f"{len(found)} chunks, {min(count, len(found))} kept", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else sys.maxsize)
