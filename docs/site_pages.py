"""What the site adds to mkdocs: pages from the root of the repository, scripts as pages, docstrings in our form.

`mkdocs.yml` names this file as a hook of mkdocs and as an extension of griffe, which reads the docstrings.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path, PurePosixPath
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import scripts

ROOT = Path(__file__).resolve().parents[1]
# Pages that lie outside docs/: where they are in the repository, and where on the site.
FROM_ROOT = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "containers/README.md": "containers.md",
}
ORIGIN = {place: origin for origin, place in FROM_ROOT.items()}
SHIM = "https://unpkg.com/iframe-worker/shim"
LINK = re.compile(r"\]\(([^)#\s:]+)(#[^)\s]*)?\)")
# Sections of our docstrings, which are underlined, and their names in Google's style, which griffe reads.
SECTIONS = {
    "Parameters": "Args",
    "Returns": "Returns",
    "Raises": "Raises",
    "Attributes": "Attributes",
    "Yields": "Yields",
    "Examples": "Examples",
}


def pages_of_scripts() -> list[Path]:
    """Scripts that are pages of the site."""
    return [*sorted((ROOT / "docs/tutorials").glob("*.py")), *sorted((ROOT / "docs/gallery").glob("*.py"))]


def relinked(text: str, place: str) -> str:
    """Links of a page, which are true in the repository, as they are true on the site, where the page is `place`."""
    origin = PurePosixPath(ORIGIN.get(place, f"docs/{place}"))

    def on_the_site(link: re.Match[str]) -> str:
        target = os.path.normpath(origin.parent / link[1])
        target = FROM_ROOT.get(target, target.removeprefix("docs/"))
        if target.endswith(".py"):  # a script is a page here
            target = target.removesuffix(".py") + ".md"
        relative = os.path.relpath(target, PurePosixPath(place).parent)
        return f"]({relative}{link[2] or ''})"

    return LINK.sub(on_the_site, text)


def google_style(docstring: str) -> str:
    """A docstring whose sections are underlined, as numpydoc's, with `name: text` in them, in Google's style."""
    lines, within = [], False
    source = docstring.splitlines()
    for number, line in enumerate(source):
        following = source[number + 1] if number + 1 < len(source) else ""
        if line.strip() in SECTIONS and set(following.strip()) == {"-"}:
            lines.append(f"{SECTIONS[line.strip()]}:")
            within = True
        elif within and set(line.strip()) == {"-"}:
            continue
        else:
            lines.append(f"    {line}" if within and line else line)
    return "\n".join(lines)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are not files of docs/."""
    from mkdocs.structure.files import File

    for origin, place in FROM_ROOT.items():
        files.append(File.generated(config, place, content=(ROOT / origin).read_text()))
    for script in pages_of_scripts():
        place = script.relative_to(ROOT / "docs")
        files.append(File.generated(config, str(place.with_suffix(".md")), content=scripts.page(script)))
        files.append(File.generated(config, str(place.with_suffix(".ipynb")), content=scripts.notebook(script)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links as they are on the site."""
    return relinked(markdown, page.file.src_uri)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """The script that lets the search work from the disk is ours, so that a page loads nothing from elsewhere."""
    up = "../" * page.url.count("/")
    return output.replace(SHIM, f"{up}assets/iframe-worker.js")


def on_post_template(output: str, template_name: str, **_: Any) -> str:
    """The same of the page for what is not found."""
    return output.replace(SHIM, "/assets/iframe-worker.js")


try:
    from griffe import Extension
except ImportError:  # the tests read this file without the generator
    Extension = object  # type: ignore[assignment, misc]


class OurDocstrings(Extension):
    """For griffe: docstrings in Google's style."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Rewrite the docstring of whatever was read."""
        if obj.docstring:
            obj.docstring.value = google_style(obj.docstring.value)
