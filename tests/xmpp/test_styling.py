"""Message styling (XEP-0393) and HTML."""

from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.xmpp.styling import LARGEST_HTML, from_html, to_html


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("plain", None),
        ("two\nlines", None),
        ("1 < 2 & 3", None),
        ("*strong*", "<strong>strong</strong>"),
        ("a *b* c", "a <strong>b</strong> c"),
        ("_emphasis_ and ~gone~", "<em>emphasis</em> and <del>gone</del>"),
        ("`code *not bold*`", "<code>code *not bold*</code>"),
        ("*a _b_ c*", "<strong>a <em>b</em> c</strong>"),
        ("no*t styled*", None),
        ("* not styled*", None),
        ("*not styled *", None),
        ("2 * 3 * 4", None),
        ("**", None),
        ("*x", None),
        ("*<b>*", "<strong>&lt;b&gt;</strong>"),
        ("> quoted\nnot", "<blockquote>quoted</blockquote>not"),
        (">> twice", "<blockquote><blockquote>twice</blockquote></blockquote>"),
        ("```\nx < 1\n*y*\n```\nz", "<pre><code>x &lt; 1\n*y*</code></pre>z"),
        ("```\nnever ends", "<pre><code>never ends</code></pre>"),
    ],
)
def test_styled_text_becomes_html(text: str, html: str | None) -> None:
    assert to_html(text) == html


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("plain", "plain"),
        ("1 &lt; 2", "1 < 2"),
        ("<strong>a</strong> <b>b</b>", "*a* *b*"),
        ("<em>a</em> <del>b</del> <code>c</code>", "_a_ ~b~ `c`"),
        ("<p>one</p><p>two</p>", "one\n\ntwo"),
        ("a<br>b<br/>c", "a\nb\nc"),
        ("<blockquote><p>said</p></blockquote><p>answer</p>", "> said\nanswer"),
        ("<pre><code>x &lt; 1\n  y</code></pre>", "```\nx < 1\n  y\n```"),
        ("<ul><li>a</li><li>b</li></ul>", "- a\n- b"),
        ("<ol><li>a</li><li>b</li></ol>", "1. a\n2. b"),
        ('<a href="https://example.org">here</a>', "here (https://example.org)"),
        ('<a href="https://matrix.to/#/@a:b">Alice</a>: hi', "Alice: hi"),
        ("<mx-reply><blockquote>old</blockquote></mx-reply>new", "new"),
        ("<script>bad()</script>good", "good"),
        ("<h1>Title</h1>text", "*Title*\ntext"),
        ("</p></blockquote></ul>odd", "odd"),
        ('<img src="mxc://a/b" alt="cat">', "cat"),
    ],
)
def test_html_becomes_styled_text(html: str, text: str) -> None:
    assert from_html(html) == text


@given(st.text())
def test_any_text_can_be_styled_and_says_the_same(text: str) -> None:
    html = to_html(text)
    assert html is None or isinstance(from_html(html), str)


@given(st.text(alphabet="<>/=\"'&;ab plicodeuqt!-", max_size=200))
def test_any_html_can_be_read(html: str) -> None:
    assert isinstance(from_html(html), str)


@pytest.mark.parametrize(
    "text", [" *a" * 80_000, "*_" * 60_000, "*_~ " * 60_000, "> " * 50_000, "*a" * 80_000, "```\n" * 60_000]
)
def test_a_text_full_of_marks_is_styled_at_once(text: str) -> None:
    began = process_time()
    to_html(text)
    assert process_time() - began < 2


@pytest.mark.parametrize(
    "part", ["<a ", "<a x='", "<a =", "<!--", "</", "<!", "<![", "<a<", "<a '", "<a \"<b '", "<a>x", "&#", "<?", "a="]
)
def test_html_that_is_never_finished_is_read_at_once(part: str) -> None:
    began = process_time()
    assert from_html((part * LARGEST_HTML)[:LARGEST_HTML]) is not None
    assert process_time() - began < 0.5


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("a <![ b", "a <![ b"),
        ("a <![ b > c", "a  c"),
        ("<!-- <b>no</b> -->yes", "yes"),
        ("yes<!-- no", "yes"),
        ("1 < 2 <b>x</b>", "1 < 2 *x*"),
        ("<a HREF='https://example.org/?a&amp;b' title=\">\">x</a>", "x (https://example.org/?a&b)"),
        ("<img src=x title=dog>", "dog"),
    ],
)
def test_odd_html_is_text(html: str, text: str) -> None:
    assert from_html(html) == text
