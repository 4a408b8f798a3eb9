"""Names and sentences that people wrote, where markup is understood: they stay text, whatever is in them.

HTML pages escape by themselves (jinja2). Markdown and matplotlib do not: `<script>` in a site's name would be a tag for
whoever renders the card, `$x$` in a network's name is maths, and a control character makes an SVG file invalid.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LISTED = "\u200b"  # takes no room; before a name in a legend, see `in_legend`
LONGEST = 120  # characters of a text in a figure
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff\ud800-\udfff]")
TAG = re.compile(r"<(?=[A-Za-z/!?])")  # what HTML and Markdown take for the start of a tag; `p < .05` is none
ENTITY = re.compile(r"&(?=#?\w+;)")


def markdown_line(text: str) -> str:
    """One line of Markdown, in which what people wrote starts no line, no tag, no entity and no link."""
    line = CONTROL.sub(" ", " ".join(text.splitlines()))
    return TAG.sub("&lt;", ENTITY.sub("&amp;", line)).replace("](", "]&#40;")


def markdown_cell(text: str) -> str:
    """The same in a table."""
    return markdown_line(text).replace("|", "&#124;")


def in_legend(text: str) -> str:
    """A name as a label of matplotlib, whose legends leave out what begins with `_`; `draw_as_text` mends it."""
    return f"{LISTED}{text}"


def draw_as_text(figure: Figure) -> None:
    """Before a figure is drawn: no text is maths (but exponents of axes), has control characters or is endless."""
    from matplotlib.text import Text
    from matplotlib.ticker import FixedLocator

    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            labels = [label.get_text() for label in axis.get_ticklabels()]
            if isinstance(axis.get_major_locator(), FixedLocator) and labels != [_shown(label) for label in labels]:
                axis.set_ticklabels([_shown(label) for label in labels])
    for text in figure.findobj(Text):
        if isinstance(text, Text) and not text.get_text().startswith("$\\mathdefault"):
            text.set_parse_math("$" not in text.get_text())
            text.set_text(_shown(text.get_text()))


def _shown(text: str) -> str:
    text = CONTROL.sub(" ", text.removeprefix(LISTED))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
