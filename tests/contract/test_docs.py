"""The docs: every page has a place on the site, every link and picture leads somewhere, scripts are pages."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from brainlm_model.stages import ALL_STAGES
from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "docs"))
import scripts
import site_pages

DOCS = ROOT / "docs"
SCRIPTS = site_pages.pages_of_scripts()
WRITTEN = sorted([*DOCS.glob("**/*.md"), *(ROOT / origin for origin in site_pages.FROM_ROOT)])


def places(nav: Any) -> list[str]:
    """The pages of a navigation, in order."""
    if isinstance(nav, str):
        return [nav]
    found: list[str] = []
    for entry in nav.values() if isinstance(nav, dict) else nav:
        found += places(entry)
    return found


def text_of(page: Path) -> str:
    """A page as Markdown, without blocks and words of code."""
    text = scripts.page(page) if page.suffix == ".py" else page.read_text()
    text = re.sub(r"(?ms)^```.*?^```", "", text)
    return re.sub(r"`[^`\n]*`", "", text)


def anchors(page: Path) -> set[str]:
    """The identifiers of a page's headings, as GitHub and mkdocs both make them."""
    text = scripts.page(page) if page.suffix == ".py" else page.read_text()
    text = re.sub(r"(?ms)^```.*?^```", "", text)
    slugs = set()
    for heading in re.findall(r"(?m)^#+ (.*)$", text):
        words = re.sub(r"[^\w\s-]", "", heading.lower()).strip()
        on_github, on_the_site = re.sub(r"\s", "-", words), re.sub(r"[-\s]+", "-", words)
        if on_github == on_the_site:
            slugs.add(on_github)
    return slugs


def test_every_page_has_one_place_on_the_site() -> None:
    nav = places(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    pages = [str(page.relative_to(DOCS)) for page in DOCS.glob("**/*.md")]
    pages += [str(script.relative_to(DOCS).with_suffix(".md")) for script in SCRIPTS]
    pages += site_pages.FROM_ROOT.values()
    assert sorted(nav) == sorted(pages)


@pytest.mark.parametrize("page", [*WRITTEN, *SCRIPTS], ids=lambda p: str(p.relative_to(ROOT)))
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", text_of(page)):
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        file = page.parent / target if target else page
        assert file.is_file(), f"{target}: a link leads to a file of the repository, not to a folder"
        known = file.resolve().is_relative_to(DOCS) or str(file.resolve().relative_to(ROOT)) in site_pages.FROM_ROOT
        assert known or file.name == "LICENSE", f"{target} is not on the site: name it in backticks"
        if anchor:
            assert anchor in anchors(file), f"{target}#{anchor}"


def test_links_of_a_page_on_the_site() -> None:
    """A page of the root is another file on the site; a script is a page; nothing else changes."""
    text = "[a](docs/hpc.md#once) ![b](docs/images/dag.svg) [c](docs/gallery/age.py) [d](https://x.org/a.py) [e](#f)"
    there = "[a](hpc.md#once) ![b](images/dag.svg) [c](gallery/age.md) [d](https://x.org/a.py) [e](#f)"
    assert site_pages.relinked(text, "index.md") == there
    assert site_pages.relinked("[a](../CONTRIBUTING.md)", "architecture.md") == "[a](contributing.md)"
    assert site_pages.relinked("[a](../../README.md#install)", "tutorials/own-data.md") == "[a](../index.md#install)"
    assert site_pages.relinked("[a](../docs/hpc.md)", "containers.md") == "[a](hpc.md)"


def test_the_page_of_stages_has_each_with_its_summary() -> None:
    page = (DOCS / "stages/README.md").read_text()
    rows = [f"| [{stage.name}]({stage.name}.md) | {stage.level} | {stage.summary} |" for stage in ALL_STAGES]
    assert "\n".join(rows) in page


def test_docstrings_are_read_as_googles() -> None:
    ours = "One line.\n\nParameters\n----------\nx: (time,) mm.\n    More.\n\nRaises\n------\nInputError: no x."
    theirs = "One line.\n\nArgs:\n    x: (time,) mm.\n        More.\n\nRaises:\n    InputError: no x."
    assert site_pages.google_style(ours) == theirs
    assert (
        site_pages.google_style("No sections: nothing changes.\n- a list\n")
        == "No sections: nothing changes.\n- a list"
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda s: s.stem)
def test_a_script_is_a_page_and_a_notebook(script: Path) -> None:
    cells = scripts.cells(script.read_text())
    assert cells[0][0] == "text" and cells[0][1].startswith("# ")
    compile("\n".join(content for kind, content in cells if kind == "code"), str(script), "exec")
    made = json.loads(scripts.notebook(script))
    assert len(made["cells"]) == len(cells) and made["nbformat"] == 4
    printed = script.with_suffix(".txt").read_text()
    assert printed.count(f"{scripts.CELL}\n") == sum(kind == "code" for kind, _ in cells), "make gallery"
    assert str(Path.home()) not in printed and os.sep + "tmp" + os.sep not in printed


def test_printed_text_stands_below_its_cell(tmp_path: Path) -> None:
    script = tmp_path / "a.py"
    script.write_text("# %% [markdown]\n# # Title\n#\n# Words.\n\n# %%\nx = 1\n\n# %%\nprint(x)\n")
    script.with_suffix(".txt").write_text(scripts.run(script, tmp_path))
    page = scripts.page(script)
    assert page.startswith("# Title\n\nWords.\n\n```python\nx = 1\n```\n\n```python\nprint(x)\n```\n\n```text\n1\n```")
