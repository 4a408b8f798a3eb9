import json
import re
from html.parser import HTMLParser

import pytest

from brainlm_data.runner.call import call
from brainlm_model import figures
from brainlm_model.eval.masked import stage as evaluate
from brainlm_model.eval.masked import words
from brainlm_model.report import stage as report
from brainlm_model.report.stage import STAGE, Config, markdown
from brainlm_model.training import stage as train
from tests.model.results import artifact, files

VOID = {"meta", "img", "br", "link", "hr"}


class Page(HTMLParser):
    """Checks that tags are closed in order, and keeps addresses and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open, self.addresses, self.text = [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.addresses += [v for k, v in attrs if k in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def page(finished, tmp_path):
    qc = finished / "derivatives" / "sub-00" / "func"
    qc.mkdir(parents=True, exist_ok=True)
    (qc / "sub-00_task-rest_desc-qc_metrics.json").write_text(
        json.dumps({"warnings": ["template space differs", "median_tsnr 9.1 is below 20: weak signal"]})
    )
    named = {"qc_page": str(qc / "sub-00_task-rest_desc-qc_report.html"),
             "qc_metrics": str(qc / "sub-00_task-rest_desc-qc_metrics.json")}  # fmt: skip
    methods = {"train": "It was trained.", "evaluate": "It was scored.", "collate": "On the card."}
    meta = {"recordings": [{"id": "sub-00_task-rest", "files": named, "methods": methods}]}
    names = tuple(n for n in STAGE.inputs if not n.startswith("qc"))
    outputs = files(tmp_path, STAGE.outputs)
    call(STAGE, files(finished, names, meta), outputs, Config(title="A <cohort> & its model"))
    return outputs["report"].read_text()


def test_it_is_one_whole_page_with_nothing_to_fetch(page):
    found = Page(page)
    assert "A &lt;cohort&gt; &amp; its model" in page
    assert sum(a.startswith("data:image/svg+xml;base64,") for a in found.addresses) == 5
    rest = [a for a in found.addresses if not a.startswith(("data:", "#"))]
    assert set(rest) == {"derivatives/sub-00/func/sub-00_task-rest_desc-qc_report.html", "index.html"}
    assert "<script" not in page and "@import" not in page


def test_what_was_done_comes_first_then_trust_then_one_table(page):
    order = ["What was done", 'class="answer"', 'id="trust"', "Splits are by subject", "Before you believe it"]
    order += ['id="results"', "Random masking, band", 'id="figure-masked_r2"', "What beats what", 'id="cohort"']
    places = [page.index(words) for words in order]
    assert places == sorted(places)
    shown = re.sub(r"<details.*?</details>", "", page, flags=re.S)
    assert shown.count("<caption>") == 2  # the splits, and one table of results


def test_sentences_show_code_and_nothing_else_as_markup():
    assert str(report.inline("set `a.b: <x>` & **now**")) == "set <code>a.b: &lt;x&gt;</code> &amp; <b>now</b>"


@pytest.mark.parametrize("width", [1400, 420])
def test_in_a_browser(page, browser, tmp_path, width):
    browser.open(artifact(tmp_path, "report"), width)
    found = browser.audit()
    assert all(text.startswith("leads nowhere") for text in found), found  # the index and the pages of recordings


def test_it_says_who_was_refused_and_why(page):
    text = " ".join(Page(page).text)
    assert "too short: 12 volumes" in text and "mean FD 0.91 mm > 0.5" in text
    assert re.search(r"train\s+10\s+10\s+2600", " ".join(text.split()))


def test_warnings_are_shown(page):
    assert "parcels outside the field of view: sub-17_task-rest" in page
    assert "template space differs (sub-00_task-rest)" in page
    assert "median_tsnr is below 20: weak signal (sub-00_task-rest)" in page


def test_every_table_of_r2_names_the_band_and_published_numbers_are_set_apart(page):
    captions = re.findall(r"<caption>(.*?)</caption>", page, re.S)
    of_r2 = [c for c in captions if "R²" in c]
    assert len(of_r2) == 6 and all("0.01 to 0.45 Hz" in c for c in of_r2)
    assert page.index("for context, not for comparison") < page.index("0.343")


def test_methods_are_the_card_and_the_stages_after_it(page):
    assert "Simulated <b>network</b> signals." in page and "<code>1 Hz</code>" in page
    assert "a &amp; b &lt;i&gt;" in page
    assert "It was trained." in page and "It was scored." in page and "On the card." not in page


def test_the_same_inputs_give_the_same_page(page, finished, tmp_path):
    assert "20 recordings" not in STAGE.describe({"Title": "t", "Recordings": 3, "Figures": []})
    names = tuple(n for n in STAGE.inputs if not n.startswith("qc"))
    pages = []
    for _ in range(2):
        outputs = files(tmp_path, STAGE.outputs)
        call(STAGE, files(finished, names), outputs, Config())
        pages.append(outputs["report"].read_bytes())
    assert pages[0] == pages[1]


def test_the_table_marks_the_best_of_each_column(finished):
    content = json.loads(artifact(finished, "masked_json").read_text())
    entry = next(e for e in report.result_table(content) if e["metric"] == "r2_flat" and e["masking"] == "random")
    for column in range(4):
        values = [float(row["cells"][column]["text"].split()[0]) for row in entry["rows"]]
        marked = [row["cells"][column]["best"] for row in entry["rows"]]
        assert any(marked) and values[marked.index(True)] == max(values)


def test_markdown_headings_lists_and_paragraphs():
    found = str(markdown("# Data\nOne\ntwo.\n\n- a\n  more\n- b\n\n| | |\n|---|---|\n| x | `1` |"))
    assert found == (
        "<h3>Data</h3>\n<p>One two.</p>\n<ul><li>a more</li><li>b</li></ul>\n"
        "<table><tr><td>x</td><td><code>1</code></td></tr></table>"
    )


def content(verdicts: dict[str, list[str]], firm: bool = True, prior: str = "zero", difference: float = 0.1) -> dict:
    ratios = [0.2, 0.75]
    rows = [
        {"method": "model", "against": against, "masking": "random", "mask_ratio": ratio, "verdict": verdict,
         "difference": {"better": difference, "worse": -difference}.get(verdict, 0.0), "n_subjects": 20 if firm else 3,
         "firm": firm}
        for against, each in verdicts.items()
        for ratio, verdict in zip(ratios, each, strict=True)
    ]  # fmt: skip
    results = [
        {"method": m, "masking": "random", "mask_ratio": q, "metric": "r2_flat",
         "value": v, "low": v - 0.05, "high": v + 0.05}
        for m, v in {"model": 0.12, "gaussian": 0.5, "untrained": 0.01}.items()
        for q in ratios
    ]  # fmt: skip
    names = {"gaussian": "conditional Gaussian", "untrained": "BrainLM, untrained", "model": "BrainLM, trained"}
    return {"Split": "test", "Masking": ["random"], "MaskRatios": ratios, "Prior": prior, "Comparisons": rows,
            "Results": results, "Methods": names}  # fmt: skip


def test_it_says_plainly_when_the_linear_baseline_wins():
    case = content({"gaussian": ["worse", "worse"], "untrained": ["better", "better"]})
    first, second = words.headline(case)
    assert first.startswith("The linear baseline wins")
    assert second.startswith("Training helped at every mask ratio: R² +0.100 at 0.2")
    assert words.verdicts(case)[1] == (
        "On 20 held-out subjects, random masking of 0.75, the trained model (R² 0.12 [0.07, 0.17]) beats the untrained "
        "network (0.010 [-0.040, 0.060]; +0.100); is beaten by the conditional Gaussian (0.50 [0.45, 0.55]; -0.100)."
    )


def test_other_outcomes_in_words():
    won = content(
        {"gaussian": ["better", "better"], "untrained": ["better", "better"]}, prior="gaussian", difference=0.001
    )
    assert words.headline(won)[0].startswith("The model is better than the conditional Gaussian")
    assert words.headline(won)[1].startswith("Training added next to nothing")
    assert "negligible" in words.verdicts(won)[0]
    mixed = content({"gaussian": ["better", "not distinguishable"], "untrained": ["better", "not distinguishable"]})
    assert "better at 0.2; they are not distinguishable at 0.75" in words.headline(mixed)[0]
    assert "at mask ratios 0.2 only" in words.headline(mixed)[1]
    alike = content({"gaussian": ["not distinguishable"] * 2, "untrained": ["better", "better"]})
    assert "are not distinguishable at any mask ratio" in words.headline(alike)[0]
    lost = content({"gaussian": ["worse", "worse"], "untrained": ["worse", "worse"]})
    assert words.headline(lost)[1].startswith("Training made it worse")


def test_few_subjects_get_weaker_verbs_and_a_caution():
    few = content({"gaussian": ["worse", "worse"], "untrained": ["better", "better"]}, firm=False)
    (only,) = words.headline(few)
    assert only.startswith("No result: there are only 3 held-out subjects")
    assert "is ahead of" in words.verdicts(few)[0] and "is behind" in words.verdicts(few)[0]
    assert "beat" not in words.verdicts(few)[0]


@pytest.mark.parametrize(
    ("value", "text"), [((0.5, 0.45, 0.55), "0.50 [0.45, 0.55]"), ((0.0123, None, None), "0.012"), ((None,), "–"),
                        ((-0.0001, -0.0002, 0.0001), "0.000 [0.000, 0.000]")]
)  # fmt: skip
def test_numbers(value, text):
    assert words.number(*value) == text


def test_golden(page, tmp_path, golden):
    before = [train.STAGE, evaluate.STAGE, figures.STAGE]
    golden(STAGE, {"report": artifact(tmp_path, "report")}, after=before)
