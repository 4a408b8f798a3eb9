"""The page and the card of the paper's tasks: every task is there, with who wins and what cannot be compared."""

from __future__ import annotations

import html
import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brainlm_data import Files
from brainlm_model.cli import main
from brainlm_model.paper import card, opening
from brainlm_model.paper.sections import section
from brainlm_model.paper.stage import STAGE, write
from brainlm_model.stages import PAPER_TASKS
from brainlm_model.training import stage as train

NETWORKS = [
    "networks.methods=[connectivity, raw, vae, attention]",
    "networks.classifiers=[knn]",
    "networks.bootstrap=100",
]
SCALING = ["scaling.models=[tiny]", "scaling.training_ratios=[0.75]", "scaling.shares=[1.0]", "scaling.steps=3"]


@pytest.fixture(scope="module")
def made(planted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two tasks, as two calls of the command leave it."""
    home = tmp_path_factory.mktemp("paper") / "home"
    shutil.copytree(planted, home)
    (home / "model" / "card.md").write_text("# Model toy\n\nmade for a test\n\n# Data\n\nsimulated\n")
    for task, keys in (("networks", NETWORKS), ("scaling", SCALING)):
        call = ["paper", str(home / "store.zarr"), str(home / "model"), "--tasks", task, "--out", str(home / "out")]
        assert main([*call, "--set", *keys, f"{task}.threads=1"]) == 0
    return home / "out"


def test_the_page_has_every_task_with_its_sentences_and_figure(made: Path) -> None:
    page = (made / "paper.html").read_text()
    for task in ("networks", "scaling"):
        words = importlib.import_module(f"brainlm_model.eval.{task}.words")
        content = json.loads((made / f"{task}.json").read_text())
        assert f'<h2 id="{task}">{words.TITLE}</h2>' in page
        sentences = content["Summary"]
        assert sentences and all(html.escape(sentence, quote=False) in html.unescape(page).replace("&", "&amp;")
                                 or sentence in html.unescape(page) for sentence in sentences)  # fmt: skip
    assert page.count("data:image/svg+xml;base64,") == 2 and "http" not in page.replace("http://www.w3.org", "")


def test_published_numbers_stand_beside_ours_and_say_why_they_differ(made: Path) -> None:
    part = section(PAPER_TASKS["networks"], made / "networks.json", made / "networks.svg")
    by_what = {row.what: row for row in part.published}
    vae = by_what["UK Biobank: accuracy of seven networks, k-NN on vae"]
    rows = json.loads((made / "networks.json").read_text())["Results"]
    (same,) = [r for r in rows if (r["protocol"], r["method"], r["metric"], r["labels"])
               == ("within", "vae", "accuracy", "true")]  # fmt: skip
    assert vae.value == "0.49" and vae.ours.startswith(f"{same['value']:.2f}") and not vae.comparable
    gcn = by_what["UK Biobank: accuracy of seven networks, k-NN on gcn"]
    assert gcn.ours == "–" and gcn.ours_is == "no counterpart here"
    page = (made / "paper.html").read_text()
    assert all(row.reason.split(",")[0] in page for row in part.published)


def test_the_card_says_what_it_reaches_and_its_limits(made: Path) -> None:
    text = (made / "README.md").read_text()
    part = section(PAPER_TASKS["scaling"], made / "scaling.json", made / "scaling.svg")
    assert text.startswith("---\n") and all(f"- {sentence}" in text for sentence in part.headline)
    assert all(sentence in text for sentence in card.LIMITS) and "only" in text and "made for a test" in text
    assert text.index("## What it reaches") < text.index("## Limits") < text.index("## Data")


def of_masks(split: str, lows: list[float], firm: bool = True) -> dict[str, Any]:
    """As masked.json: the model against two baselines, of which the second reaches more."""
    ratios = [0.2, 0.9]
    rows, compared = [], []
    for ratio, low in zip(ratios, lows, strict=True):
        for name, value in (("model", 0.7), ("untrained", 0.69), ("gaussian", 0.5), ("spacetime", 0.69)):
            rows.append({"method": name, "metric": "r2_flat", "masking": "random", "mask_ratio": ratio, "value": value})
        for name, above in (("gaussian", 0.1), ("spacetime", low)):
            compared.append({"against": name, "masking": "random", "mask_ratio": ratio, "difference": above + 0.01,
                             "low": above, "firm": firm})  # fmt: skip
    return {"Split": split, "Subjects": 30, "Masking": ["random"], "MaskRatios": ratios, "Results": rows,
            "Comparisons": compared, "Methods": {"gaussian": "Gaussian", "spacetime": "joint Gaussian"}}  # fmt: skip


def of_future(verdict: str) -> dict[str, Any]:
    """As future.json: the fine-tuned model against two others."""
    rows, compared = [], []
    for name, value in (("finetuned", 0.09), ("ar", 0.08), ("mean", 0.0)):
        rows.append({"horizon": 20, "metric": "r2_flat", "step": "", "method": name, "value": value, "label": name})
    for name in ("ar", "mean"):
        row = {"horizon": 20, "step": None, "against": name, "verdict": "better" if name == "mean" else verdict}
        compared.append(row)
    return {"Horizons": [20], "Subjects": 30, "Results": rows, "Comparisons": compared}


def test_the_first_three_lines_say_what_it_is_better_at_and_what_it_is_not(made: Path) -> None:
    better, others, is_not = opening.lines([of_masks("test", [0.01, 0.02]), of_masks("external", [0.01, -0.02])], {})
    assert "30 held-out subjects: R² +0.0200 to +0.0300 against the best baseline (joint Gaussian)" in better
    assert "all 2 mask ratios" in better and "left out" not in better
    assert "subjects of groups that were left out" in others and "at 1 of 2 mask ratios" in others
    assert "single people" in is_not
    few, _, _ = opening.lines([of_masks("test", [0.01, 0.02], firm=False)], {"future": of_future("better")})
    assert "hidden values" not in few and "the best other (ar) 0.080, better" in few
    _, others, _ = opening.lines([], {"future": of_future("not distinguishable")})
    assert "forecasts of 20 steps" in others
    assert opening.lines([], {})[0] == "**Better at**: nothing that was measured here."
    title, _, *first = (made / "README.md").read_text().split("\n# ")[1].split("\n")[:5]
    assert [line.split("**")[1] for line in first] == ["Better at", "Not better at", "It is not"] and title


@pytest.mark.parametrize(("subjects", "said"), [(2, "only 2 people"), (1, "only 1 person"), ({"test": 3, "external": 9},
                         "only 3 people"), (6, ""), ({"test": 6}, ""), (None, "")])  # fmt: skip
def test_of_few_people_nothing_is_claimed(made: Path, tmp_path: Path, subjects: Any, said: str) -> None:
    content = json.loads((made / "networks.json").read_text())
    (tmp_path / "networks.json").write_text(json.dumps({**content, "Subjects": subjects}))
    part = section(PAPER_TASKS["networks"], tmp_path / "networks.json", made / "networks.svg")
    if said:
        assert part.headline[0].startswith("No result") and said in part.headline[0]
    else:
        assert part.headline == content["Summary"]


def test_the_stage_asks_for_every_task() -> None:
    assert {f"{task}_{kind}" for task in PAPER_TASKS for kind in ("json", "svg")} < set(STAGE.inputs)
    assert "phenotype" in STAGE.describe({"Title": "t", "Tasks": list(PAPER_TASKS)})


def test_the_same_files_give_the_same_page(made: Path, tmp_path: Path) -> None:
    home = made.parent
    inputs = {"model_config": home / "model" / "config.json", "model_card": home / "model" / "card.md"}
    inputs["recordings"] = home / "recordings.parquet"
    there = [task for task in PAPER_TASKS if (made / f"{task}.json").exists()]
    sections = [section(PAPER_TASKS[t], made / f"{t}.json", made / f"{t}.svg") for t in there]
    outputs = {"paper_page": tmp_path / "page.html", "paper_card": tmp_path / "card.md"}
    write(outputs, Files(inputs), "What the model can do, and what simpler methods do", sections)
    assert outputs["paper_page"].read_bytes() == (made / "paper.html").read_bytes()


def test_golden(made: Path, golden: Callable[..., None]) -> None:
    before = [train.STAGE, PAPER_TASKS["networks"], PAPER_TASKS["scaling"]]
    golden(STAGE, {"paper_page": made / "paper.html", "paper_card": made / "README.md"}, after=before, rtol=0.05)
