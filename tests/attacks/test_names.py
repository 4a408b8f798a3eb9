"""Names that are markup: of people, sites, columns, parcels, networks. On every page they arrive as text.

A page made with them has the same tags and attributes as one that was made with plain names, and shows the names.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from brainlm_data.dataset.card import Card
from brainlm_data.dataset.gather import Config as CollateConfig
from brainlm_data.files.text import draw_as_text, in_legend, markdown_cell, markdown_line
from brainlm_data.quality import plots
from brainlm_model.models.card import ModelCard, ModelPart
from brainlm_model.paper import card as paper_card
from brainlm_model.paper.sections import Published, Section
from brainlm_model.report.stage import markdown
from tests.attacks.formats import _card
from tests.stages.test_qcgroup import cohort, refuse
from tests.stages.test_qcgroup import run as run_group

HOSTILE = {
    "script": "<script>alert(1)</script>",
    "attribute": "\"'><img src=x onerror=alert(1)>",
    "entity": "&amp;&lt;b&gt;&#60;i>",
    "long": "x" * 3000,
    "rtl": "\u202eabc\u05d0\u05d1",
    "newline": "a\n# b\n- c\r\n| d |\u2028e",
    "link": "[a](javascript:alert(1)) ![b](x) ](",
    "maths": "$\\frac{x$ $a$ _b_",
    "control": "a\x00\x0b\x1b[31mb",
    "template": "{{ 7 * 7 }}{% raw %}{x}",
    "underscore": "_a",
    "comment": "--><!-- ]]> </style>",
}
names = pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
PLAIN = "plain"


class Page(HTMLParser):
    """Tags with the names of their attributes, in order, and all that is text or an attribute's value."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.words: list[str] = []
        self.addresses: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.words += [value or "" for _, value in attrs]
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src")]

    def handle_endtag(self, tag: str) -> None:
        self.tags.append((f"/{tag}", ()))

    def handle_comment(self, data: str) -> None:
        self.tags.append((f"<!--{data}", ()))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return spaced(" ".join(self.words))


def spaced(text: str) -> str:
    return " ".join(text.replace("\0", "\ufffd").split())


def check_same_markup(make: Callable[[str], str], name: str) -> Page:
    """A page that `make` writes with a hostile name, compared with the one of a plain name."""
    found, plain = Page(make(name)), Page(make(PLAIN))
    assert found.tags == plain.tags
    assert all(not address.lower().lstrip().startswith("javascript:") for address in found.addresses)
    return found


@pytest.mark.usefixtures("words_only")
@names
def test_the_group_page(name: str, tmp_path: Path) -> None:
    def make(given: str) -> str:
        folder = tmp_path / str(abs(hash(given)))
        inputs = cohort(folder, 7, sub0002={"warnings": [f"site {given} is odd"], "mean_fd_mm": 5.0})
        for row in inputs.meta["recordings"][2:4]:
            row |= {"id": f"sub-{given}", "subject": given, "task": given, "session": given, "run": given}
        refuse(inputs, 5, f"{given}: no header")
        inputs.meta["recordings"][5]["id"] = given
        for number, row in enumerate(inputs.meta["recordings"]):
            row["phenotypes"] = {given: given if number % 2 else "other"}
        facts, _, html = run_group(inputs, by=[given])
        assert facts["Groups"] == {given: 2}
        return html

    found = check_same_markup(make, name)
    assert spaced(f"sub-{name}") in found.text and spaced(f"{name}: no header") in found.text


def card_of(name: str) -> Card:
    """A data card in which whatever people can name is called so."""
    made = {"stage": name, "version": 1, "recordings": 1, "template": "With {x}.", "fields": {"x": name}}
    imported = {"kind": "arrays", "name": name, "known": [f"Known {name}"], "unknown": [f"Unknown {name}"]}
    card = _card(
        atlas=name, units=name, networks=name, space=name, space_mismatch=name, warnings=[f"table {name}"],
        imported=imported, stages=[made],
    )  # fmt: skip
    rows = [{"id": f"sub-{name}", "subject": name, "split": "train", "status": "done", "reason": ""},
            {"id": name, "subject": name, "split": None, "status": "refused", "reason": f"{name}: bad"}]  # fmt: skip
    return card.with_tables(pd.DataFrame(rows), CollateConfig(external={name: [name]}).model_dump())


def check_markdown(make: Callable[[str], str], name: str) -> None:
    """Nothing of a name starts a line, a tag, an entity or a link; as HTML it is text."""
    found, plain = make(name), make(PLAIN)
    assert len(found.split("\n")) == len(plain.split("\n"))
    assert not re.search(r"<[A-Za-z/!?]|\]\(|[\x00-\x09\x0b-\x1f\u2028]", found)
    page = Page(str(markdown(found)))
    kinds = {tag for tag, _ in page.tags} | {"code", "/code", "b", "/b"}
    assert kinds == {tag for tag, _ in Page(str(markdown(plain))).tags} | {"code", "/code", "b", "/b"}
    if not set(name) & set("*`\0\x0b\x1b|"):
        assert spaced(name.replace("\u2028", " ")) in page.text


@names
def test_the_card_of_a_store(name: str) -> None:
    check_markdown(lambda given: card_of(given).markdown(), name)


@names
def test_the_card_of_a_model(name: str) -> None:
    def make(given: str) -> str:
        part = ModelPart(name=given, title=given, made=given, licence=given, facts={given: given}, notes=[given])
        part = part.model_copy(update={"remark": given, "base": part})
        return ModelCard(model=part, data=card_of(given)).markdown()

    check_markdown(make, name)


@names
def test_the_card_of_the_paper(name: str) -> None:
    def make(given: str) -> str:
        row = Published("phenotype", f"age of {given}", "0.1", "0.2", f"column {given}", False, "other people")
        part = Section("phenotype", "Traits", [f"{given} wins"], "", "", [], [], "", [f"few of {given}"], [row], {})
        return paper_card.markdown({"training": {"Model": given}}, "# Model x\n", [part], [f"better on {given}"])

    check_markdown(make, name)
    row = next(line for line in make(name).splitlines() if line.startswith("| age of"))
    assert row.count("|") == 5


@names
def test_figures(name: str, tmp_path: Path) -> None:
    """Titles, tick labels, legends and annotations, as an SVG file and as pixels."""

    def make(given: str) -> str:
        figure = plots.new_figure(4, 3, layout=None)
        axes = figure.subplots()
        axes.plot([1, 100], [0, 1], label=in_legend(given))
        axes.set_xscale("log")
        axes.set_yticks([0, 1], [given, given])
        axes.set_title(given)
        axes.annotate(given, (1, 0))
        legend = axes.legend()
        draw_as_text(figure)
        assert legend.get_texts()[0].get_text() == axes.get_title()
        figure.savefig(tmp_path / "x.svg")
        assert plots.as_picture(figure)
        return (tmp_path / "x.svg").read_text()

    text = make(name)
    elements = list(ET.fromstring(text).iter())
    assert {element.tag for element in elements} <= {element.tag for element in ET.fromstring(make("plain 1")).iter()}
    assert not [key for element in elements for key in element.attrib if key.startswith("on")]


def test_exponents_of_axes_stay_maths() -> None:
    figure = plots.new_figure(4, 3)
    axes = figure.subplots()
    axes.plot([1, 1000], [0, 1])
    axes.set_xscale("log")
    plots.as_picture(figure)
    labels = [label for label in axes.get_xticklabels() if label.get_text()]
    draw_as_text(figure)
    assert labels and all(label.get_parse_math() for label in labels)
    assert labels[0].get_text().startswith("$\\mathdefault")


def test_usual_sentences_are_left_as_they_are() -> None:
    said = "p < .05, a & b; 0 <= x < 1 (Ortega Caro & al., 2024) `code` **bold** 5 > 4 -> see x"
    assert markdown_line(said) == said and markdown_cell(said) == said
