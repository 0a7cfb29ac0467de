"""Message styling and HTML, both ways: https://xmpp.org/extensions/xep-0393.html.

XMPP clients style plain text by marks in it, Matrix clients send HTML beside the plain text.
"""

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from html import escape, unescape

LARGEST_HTML = 32768
"""Characters of HTML that are looked at; of a longer one, the plain text beside it is shown."""
DEEPEST = 8
"""Quotes and spans within one another."""

_SPANS = {"*": "strong", "_": "em", "~": "del", "`": "code"}
_MARKS = {
    "strong": "*", "b": "*", "em": "_", "i": "_", "del": "~", "s": "~", "strike": "~", "code": "`",
    "h1": "*", "h2": "*", "h3": "*", "h4": "*", "h5": "*", "h6": "*",
}  # fmt: skip
_BLOCKS = frozenset(("p", "div", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "table", "tr", "pre", "details"))
_UNSEEN = frozenset(("mx-reply", "script", "style", "head", "title"))
_blank_lines = re.compile(r"\n{3,}").sub
_marks = re.compile("[*_~`]").finditer
# A tag reaches no further than the next "<", so that what looks like many unfinished ones takes no time.
_tag = re.compile(r"""<(/?)([a-zA-Z][a-zA-Z0-9-]*+)((?:[^<>"']++|"[^"]*"|'[^']*')*+)>""").match
_attributes = re.compile(r"""(?<![^\s"'/])([a-zA-Z]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""").finditer
_spaces = re.compile(r"[ \t\r\n]+").sub


def to_html(text: str) -> str | None:
    """Return a styled text as HTML, None if nothing in it is styled."""
    html = _blocks(text, 0)
    return html if html != _plain(text) else None


def _plain(text: str) -> str:
    return escape(text, quote=False).replace("\n", "<br>")


def _blocks(text: str, depth: int) -> str:
    """Return blocks as HTML: https://xmpp.org/extensions/xep-0393.html#block."""
    parts: list[str] = []
    lines = text.split("\n")
    at = 0
    line_before = False
    while at < len(lines):
        line = lines[at]
        if line.startswith("```"):
            end = next((n for n in range(at + 1, len(lines)) if lines[n].rstrip() == "```"), len(lines))
            parts.append(f"<pre><code>{escape(chr(10).join(lines[at + 1 : end]), quote=False)}</code></pre>")
            at, line_before = end + 1, False
        elif line.startswith(">") and depth < DEEPEST:
            end = at
            while end < len(lines) and lines[end].startswith(">"):
                end += 1
            inner = "\n".join(quoted[1:].removeprefix(" ") for quoted in lines[at:end])
            parts.append(f"<blockquote>{_blocks(inner, depth + 1)}</blockquote>")
            at, line_before = end, False
        else:
            parts.append(("<br>" if line_before else "") + _spans(line, 0))
            at, line_before = at + 1, True
    return "".join(parts)


def _spans(line: str, depth: int) -> str:
    """Return spans as HTML: https://xmpp.org/extensions/xep-0393.html#span."""
    ends: dict[str, list[int]] = {}
    for mark in _marks(line) if depth < DEEPEST else ():
        # None ends after a space.
        if mark.start() and not line[mark.start() - 1].isspace():
            ends.setdefault(mark[0], []).append(mark.start())
    if not ends:
        return escape(line, quote=False)
    parts: list[str] = []
    start = 0
    for mark in _marks(line):
        at = mark.start()
        end = _closes(line, at, ends) if at >= start else None
        if end is None:
            continue
        inner = line[at + 1 : end]
        name = _SPANS[mark[0]]
        styled = escape(inner, quote=False) if name == "code" else _spans(inner, depth + 1)
        parts.append(f"{escape(line[start:at], quote=False)}<{name}>{styled}</{name}>")
        start = end + 1
    parts.append(escape(line[start:], quote=False))
    return "".join(parts)


def _closes(line: str, at: int, ends: Mapping[str, Sequence[int]]) -> int | None:
    """Return where the span ends that begins at a mark; None if it is no beginning, or has no end."""
    mark = line[at]
    before = line[at - 1] if at else " "
    if not (before.isspace() or (before in _SPANS and before != mark)) or line[at + 1 : at + 2].strip() == "":
        return None
    # Nothing between is no span.
    possible = ends.get(mark, ())
    found = bisect_left(possible, at + 2)
    return possible[found] if found < len(possible) else None


def from_html(html: str) -> str | None:
    """Return HTML as styled text, None if it is too long."""
    if len(html) > LARGEST_HTML:
        return None
    reader = _Reader()
    _read(html, reader)
    return reader.text()


def _read(html: str, reader: "_Reader") -> None:
    """Give a reader the tags and texts of HTML, whatever it is, in a time that grows with its length only.

    The parser of the standard library takes seconds for some texts of this size, and fails at others.
    """
    at = told = 0
    while (opened := html.find("<", at)) != -1:
        tag = _tag(html, opened)
        at = tag.end() if tag is not None else _after_comment(html, opened)
        if at == opened + 1:
            # It stands for itself.
            continue
        reader.data(unescape(html[told:opened]))
        told = at
        if tag is not None:
            closes, name, rest = tag[1], tag[2].lower(), tag[3]
            if not closes:
                reader.start(name, rest)
            if closes or rest.endswith("/"):
                reader.end(name)
    reader.data(unescape(html[told:]))


def _after_comment(html: str, opened: int) -> int:
    """Return where a comment ends, or what browsers take for one; the place after its "<" if it is none."""
    if html.startswith("<!--", opened):
        end = html.find("-->", opened + 4)
        return end + 3 if end != -1 else len(html)
    end = html.find(">", opened) if html.startswith(("<!", "<?", "</"), opened) else -1
    return end + 1 if end != -1 else opened + 1


def _attribute(rest: str, *names: str) -> str:
    """Return the first of these attributes that a tag has."""
    found = {each[1].lower(): unescape(each[2] or each[3] or each[4] or "") for each in _attributes(rest)}
    return next((found[name] for name in names if found.get(name)), "")


class _Reader:
    """Writes what it reads into the innermost quote."""

    def __init__(self) -> None:
        self._quotes: list[list[str]] = [[]]
        self._lists: list[int | None] = []
        """The number of the next item of each open list, None for one without numbers."""
        self._links: list[tuple[str, int]] = []
        self._unseen = 0
        self._preformatted = 0

    def text(self) -> str:
        while len(self._quotes) > 1:
            self._end_quote()
        return _blank_lines("\n\n", "".join(self._quotes[0])).strip("\n")

    def start(self, tag: str, rest: str) -> None:
        if tag in _UNSEEN:
            self._unseen += 1
        if self._unseen:
            return
        if tag == "br":
            self._out("\n")
        elif tag in _BLOCKS:
            self._new_line()
        if tag in _MARKS and not self._preformatted:
            self._out(_MARKS[tag])
        elif tag == "blockquote" and len(self._quotes) < DEEPEST:
            self._new_line()
            self._quotes.append([])
        elif tag == "pre":
            self._preformatted += 1
            self._out("```\n")
        elif tag in ("ul", "ol"):
            self._lists.append(1 if tag == "ol" else None)
        elif tag == "li":
            self._item()
        elif tag == "a":
            self._links.append((_attribute(rest, "href"), len(self._quotes[-1])))
        elif tag == "img":
            self._out(_attribute(rest, "alt", "title"))
        elif tag == "hr":
            self._new_line()
            self._out("---\n")

    def end(self, tag: str) -> None:
        if tag in _UNSEEN:
            self._unseen = max(0, self._unseen - 1)
            return
        if self._unseen:
            return
        if tag in _MARKS and not self._preformatted:
            self._out(_MARKS[tag])
        elif tag == "blockquote" and len(self._quotes) > 1:
            self._end_quote()
        elif tag == "pre" and self._preformatted:
            self._preformatted -= 1
            self._new_line()
            self._out("```\n")
        elif tag in ("ul", "ol") and self._lists:
            self._lists.pop()
        elif tag == "a" and self._links:
            self._end_link(*self._links.pop())
        if tag in _BLOCKS:
            self._new_line()
            if tag == "p":
                self._out("\n")

    def data(self, data: str) -> None:
        if self._unseen:
            return
        if not self._preformatted:
            # Line breaks in HTML are spaces, and none stand at the beginning of a line.
            data = _spaces(" ", data)
            if self._at_line_start():
                data = data.lstrip(" ")
        self._out(data)

    def _out(self, text: str) -> None:
        if text:
            self._quotes[-1].append(text)

    def _at_line_start(self) -> bool:
        return not self._quotes[-1] or self._quotes[-1][-1].endswith("\n")

    def _new_line(self) -> None:
        if not self._at_line_start():
            self._out("\n")

    def _item(self) -> None:
        number = self._lists[-1] if self._lists else None
        if number is None:
            self._out("- ")
        else:
            self._out(f"{number}. ")
            self._lists[-1] = number + 1

    def _end_link(self, target: str, start: int) -> None:
        # Mentions are links to matrix.to; the name says it all.
        if not target.startswith(("http://", "https://")) or "//matrix.to/" in target:
            return
        if "".join(self._quotes[-1][start:]) not in (target, ""):
            self._out(f" ({target})")

    def _end_quote(self) -> None:
        inner = _blank_lines("\n\n", "".join(self._quotes.pop())).strip("\n")
        self._out("".join(f"> {line}\n" for line in inner.split("\n")))
