"""The group page and table over cohorts of any size."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import kruskal

from brainlm_data.dataset.groups import check_columns, groupings
from brainlm_data.errors import InputError
from brainlm_data.quality.group import Cohort, robust_z
from brainlm_data.quality.groups import Comparison, compare
from brainlm_data.runner.call import call
from brainlm_data.stage import Files
from brainlm_data.stages import qcgroup
from brainlm_data.stages.qcgroup import Config
from tests.browser import Browser

OUTPUTS = {"qc_group_page": "qc.html", "qc_group_table": "qc.tsv", "qc_group_columns": "qc.json"}


def cohort(folder: Path, count: int, pages: bool = True, **changes: dict[str, Any]) -> Files:
    """Recordings with plausible metrics, two tasks in turn; `sub0007={...}` changes the metrics of one."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(count):
        subject, task = f"{number:04d}", ("rest", "wm")[number % 2]
        name = f"sub-{subject}_task-{task}"
        func = folder / "derivatives" / f"sub-{subject}" / "func"
        func.mkdir(parents=True)
        files = {"qc_metrics": func / f"{name}_desc-qc_metrics.json"}
        if pages:
            files["qc_page"] = func / f"{name}_desc-qc_report.html"
        metrics = {
            "n_volumes": 110 + 50 * (task == "wm"), "tr_s": 2.0, "mean_fd_mm": 0.2 + 0.02 * rng.standard_normal(),
            "median_tsnr": 60 + 30 * (task == "wm") + 3 * rng.standard_normal(), "coverage_min": 1.0,
            "n_missing_parcels": 0, "n_ica": int(rng.integers(18, 23)), "epi_r2": 0.8 + 0.02 * rng.standard_normal(),
            "warnings": [],
        }  # fmt: skip
        metrics |= changes.get(f"sub{subject}", {})
        files["qc_metrics"].write_text(json.dumps({k: v for k, v in metrics.items() if v is not None}))
        rows.append({"id": name, "prefix": "", "subject": subject, "session": None, "task": task, "run": None,
                     "phenotypes": {}, "status": "done", "reason": "", "methods": {},
                     "files": {k: str(v) for k, v in files.items()}})  # fmt: skip
    return Files({}, {"recordings": rows, "outdir": str(folder)})


def refuse(inputs: Files, row: int, reason: str) -> None:
    inputs.meta["recordings"][row] |= {"status": "refused", "reason": reason, "files": {}}


def run(inputs: Files, **section: Any) -> tuple[dict[str, Any], pd.DataFrame, str]:
    folder = Path(inputs.meta["outdir"])
    outputs = Files({name: folder / file for name, file in OUTPUTS.items()}, inputs.meta)
    facts = call(qcgroup.STAGE, inputs, outputs, Config(**section))
    table = pd.read_csv(outputs["qc_group_table"], sep="\t", na_values=["n/a"], dtype={"subject": str})
    described = json.loads(outputs["qc_group_columns"].read_text())
    assert set(described) == set(table.columns) and all(entry["Description"] for entry in described.values())
    assert qcgroup.STAGE.describe(facts).endswith(".")
    return facts, table.set_index("id"), outputs["qc_group_page"].read_text()


def test_outliers_warnings_and_refusals(tmp_path: Path) -> None:
    inputs = cohort(
        tmp_path,
        24,
        sub0004={"mean_fd_mm": 0.9, "warnings": ["mean_fd_mm 0.9 is above 0.5: strong <head> motion"]},
        sub0009={"coverage_min": 0.4, "n_missing_parcels": 3, "epi_r2": None},
    )
    refuse(inputs, 6, "sub-0006_bold.nii.gz: truncated -> copy it <again>")
    facts, table, html = run(inputs)
    assert (facts["Recordings"], facts["Refused"], facts["RecordingsWithWarnings"]) == (23, 1, 1)
    assert table.loc["sub-0004_task-rest", ["n_warnings", "n_outliers", "outliers"]].tolist() == [1, 1, "+mean_fd_mm"]
    assert table.loc["sub-0009_task-wm", "outliers"] == "-coverage_min +n_missing_parcels"
    assert np.isnan(table.loc["sub-0009_task-wm", "epi_r2"]) and "n/a" in html
    assert facts["RecordingsWithOutliers"] == 2  # a longer task with more signal is no outlier
    assert table.loc["sub-0006_task-rest", ["status", "reason"]].tolist() == [
        "refused", "sub-0006_bold.nii.gz: truncated -> copy it <again>",
    ]  # fmt: skip
    assert np.isnan(table.loc["sub-0006_task-rest", "mean_fd_mm"])
    for text in (
        'href="derivatives/sub-0004/func/sub-0004_task-rest_desc-qc_report.html"', "strong &lt;head&gt; motion",
        "truncated -&gt; copy it &lt;again&gt;", "mean_fd_mm is above 0.5", '<td class="o w" title="z +',
        "collate.exclude",
    ):  # fmt: skip
        assert text in html, text
    rows = html.split("<tbody>")[1].split("</tbody>")[0].split("<tr")[1:]
    assert len(rows) == 24 and "sub-0004" in rows[0] and "sub-0009" in rows[1]  # most marks first
    assert "sub-0006" in rows[-1] and "refused" in rows[-1]


def test_page_is_one_file(tmp_path: Path) -> None:
    inputs = cohort(tmp_path, 12)
    _, _, html = run(inputs)
    assert not re.findall(r'(?:src|href)="(?!data:|#|derivatives/|qc\.(?:tsv|json)"|index\.html")', html)
    assert "<link" not in html and "@import" not in html and "url(" not in html
    (png,) = re.findall(r'base64,([^"]+)"', html)
    assert Image.open(io.BytesIO(base64.b64decode(png))).width > 800
    assert run(inputs)[2] == html  # same bytes
    heads = html.split("<thead>")[1].split("</tr>")[0].count("<th")
    assert {row.count("<td") for row in html.split("<tbody>")[1].split("</tbody>")[0].split("<tr")[1:]} == {heads}


def test_tasks_may_be_compared_with_each_other(tmp_path: Path) -> None:
    inputs = cohort(tmp_path, 30, sub0001={"median_tsnr": 60.0})  # usual at rest, not in this task
    facts, table, _ = run(inputs)
    assert table.loc["sub-0001_task-wm", "outliers"] == "-median_tsnr" and facts["WithinTask"]
    facts, table, html = run(inputs, within_task=False)
    assert pd.isna(table.loc["sub-0001_task-wm", "outliers"]) and "from the median of all recordings" in html
    assert "among all recordings" in qcgroup.STAGE.describe(facts)


def test_one_recording_and_none(tmp_path: Path) -> None:
    inputs = cohort(tmp_path, 1, pages=False)
    _, table, html = run(inputs)
    assert len(table) == 1 and table["n_outliers"].tolist() == [0]
    assert "Quality of 1 recording<" in html and "1 recording was not compared" in html
    assert table["page"].isna().all() and "<td>sub-0000_task-rest<td>" in html  # no pages, no links
    refuse(inputs, 0, "no TR")
    facts, table, html = run(inputs)
    assert facts["Recordings"] == 0 and table["reason"].tolist() == ["no TR"]
    assert "no TR" in html and "<script" not in html and "<img" not in html


def test_thousands_of_recordings(tmp_path: Path) -> None:
    inputs = cohort(tmp_path, 2000)
    facts, table, html = run(inputs)
    assert len(table) == 2000 and len(html) < 750_000
    assert facts["RecordingsWithOutliers"] < 60  # of 2,000 with four Gaussian metrics: 0.2% are expected
    _, table, html = run(inputs, max_rows=50)
    assert len(table) == 2000 and html.count("<td><a ") == 50 and "50 recordings with most marks of 2000" in html


def test_only_the_bad_side_is_marked(tmp_path: Path) -> None:
    """Nobody moves too little, has too much signal, or is aligned too well."""
    good = {"mean_fd_mm": 0.001, "median_tsnr": 300.0, "epi_r2": 0.99}
    bad = {"mean_fd_mm": 0.9, "median_tsnr": 5.0, "epi_r2": 0.1, "n_ica": 90}
    _, table, _ = run(cohort(tmp_path, 40, sub0004=good, sub0006=bad, sub0008={"n_ica": 2}))
    assert pd.isna(table.loc["sub-0004_task-rest", "outliers"])
    assert table.loc["sub-0006_task-rest", "outliers"] == "+mean_fd_mm -median_tsnr +n_ica -epi_r2"
    assert table.loc["sub-0008_task-rest", "outliers"] == "-n_ica"  # both sides are unusual


def test_page_in_a_browser(tmp_path: Path, browser: Browser) -> None:
    inputs = in_groups(
        cohort(tmp_path, 40, sub0004={"mean_fd_mm": 0.9, "warnings": ["mean_fd_mm is odd"]}), "site", "AB"
    )
    refuse(inputs, 7, "no TR")
    run(inputs)
    for row in inputs.meta["recordings"]:
        if "qc_page" in row["files"]:
            Path(row["files"]["qc_page"]).write_text(f"<title>{row['id']}</title>")
    (tmp_path / "index.html").write_text("<title>index</title>")
    page, shown = (
        tmp_path / "qc.html",
        "[...document.querySelectorAll('#recordings tbody tr:not(.away)')].map(r => r.cells[0].textContent)",
    )
    for width in (420, 1400):
        browser.open(page, width)
        assert browser.audit() == []
    first = "document.querySelector('#recordings tbody tr').cells[0].textContent"
    assert browser.evaluate(first) == "sub-0004_task-rest"
    column = "[...document.querySelectorAll('#recordings thead button')].find(b => b.textContent === '{}')"
    browser.evaluate(f"{column.format('recording')}.click()")
    assert browser.evaluate(first) == "sub-0000_task-rest"
    browser.evaluate(f"{column.format('recording')}.click()")
    assert browser.evaluate(first) == "sub-0039_task-wm"
    browser.evaluate(f"{column.format('mean_fd_mm')}.click()")
    assert browser.evaluate(first) == "sub-0004_task-rest"
    last = "[...document.querySelectorAll('#recordings tbody tr')].at(-1).cells[0].textContent"
    assert browser.evaluate(last) == "sub-0007_task-wm"  # it has no value

    def choose(name: str, value: str, event: str = "change") -> None:
        found = f"[...e.options].find(o => o.text === '{value}').value" if event == "change" else f"'{value}'"
        browser.evaluate(f"(() => {{ const e = document.getElementById('{name}'); e.value = {found}; "
                         f"e.dispatchEvent(new Event('{event}')); }})()")  # fmt: skip

    choose("status", "refused")
    assert browser.evaluate(shown) == ["sub-0007_task-wm"]
    choose("status", "with a mark")
    assert sorted(browser.evaluate(shown)) == ["sub-0004_task-rest", "sub-0007_task-wm"]
    choose("status", "all")
    choose("find", "sub-003", "input")
    assert (
        len(browser.evaluate(shown)) == 10
        and browser.evaluate("document.getElementById('count').textContent") == "10 of 40"
    )
    assert browser.evaluate("dots.length") == 10
    choose("find", "", "input")
    choose("column", "mean_fd_mm")
    choose("value", "0.5", "input")
    assert browser.evaluate(shown) == ["sub-0004_task-rest"]
    choose("column", "site")
    choose("value", "B", "input")
    assert len(browser.evaluate(shown)) == 20
    choose("column", "any column")
    choose("colour", "site")
    assert browser.evaluate("[...document.querySelectorAll('#legend span')].map(e => e.textContent)") == ["A", "B"]
    for axis, name in (("x", "n_ica"), ("y", "task"), ("x", "epi_r2")):
        choose(axis, name)
    assert browser.evaluate("dots.length") == 39

    browser.middle("#dots")  # scrolled to
    place = (
        "(() => { const b = canvas.getBoundingClientRect(), d = dots.find(d => d.item.name === 'sub-0012_task-rest');"
    )
    x, y = browser.evaluate(place + " return [b.x + d.x, b.y + d.y]; })()")
    browser.hover(x, y)
    tip = browser.evaluate("document.getElementById('tip').hidden ? '' : document.getElementById('tip').textContent")
    assert tip.startswith("sub-0012_task-rest\nepi_r2 0.") and "site A" in tip
    browser.click(x, y)
    browser.wait_for_load()
    assert browser.evaluate("document.title") == "sub-0012_task-rest" and not browser.errors
    for verb, title in (("after", "sub-0013_task-wm"), ("before", "sub-0011_task-wm")):
        browser.open(page, fragment=f"#{verb}=sub-0012_task-rest")
        browser.wait_for(f"document.title === '{title}'")
    browser.open(page, fragment="#sub-0012_task-rest")
    assert browser.evaluate("document.querySelector('.here').cells[0].textContent") == "sub-0012_task-rest"


def test_five_thousand_recordings_in_a_browser(tmp_path: Path, browser: Browser) -> None:
    run(in_groups(cohort(tmp_path, 5000), "site", [f"site {n}" for n in range(40)]))
    page = tmp_path / "qc.html"
    assert page.stat().st_size < 2_500_000
    browser.open(page)
    assert not browser.errors and browser.evaluate("dots.length") == 5000
    for action, most in (("sort(5)", 3000), ("filter()", 2000), ("draw()", 1000)):  # ms on a machine that is busy
        assert (
            browser.evaluate(f"(() => {{ const t = performance.now(); {action}; return performance.now() - t; }})()")
            < most
        )


def test_robust_z() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(5, 2, 100_000)
    z = robust_z(np.stack([x, 1000 + x * 1e-3], 1))
    np.testing.assert_allclose(z[:, 0], (x - 5) / 2, atol=0.05)
    assert np.abs(z[:, 1]).max() < 0.01  # a difference of no consequence
    mostly = np.r_[np.ones(20), 0.5][:, None]  # MAD is 0
    assert np.abs(robust_z(mostly)[:20]).max() == 0 and robust_z(mostly)[20, 0] < -3.5
    assert (robust_z(np.zeros((9, 1))) == 0).all()
    assert np.isnan(robust_z(np.arange(7.0)[:, None])).all()  # too few


def in_groups(inputs: Files, column: str, names: Sequence[Any]) -> Files:
    """Recordings take turns in pairs, so that each group has both tasks."""
    for number, row in enumerate(inputs.meta["recordings"]):
        row["phenotypes"] = {**row["phenotypes"], column: names[number // 2 % len(names)]}
    return inputs


def test_a_noisy_site(tmp_path: Path) -> None:
    noisy = {f"sub{n:04d}": {"median_tsnr": 40.0 + n % 2 * 30 + n % 7} for n in range(60) if n // 2 % 3 == 2}
    inputs = in_groups(cohort(tmp_path, 60, **noisy), "Site_ID", [10, 2, "<i>Ulm"])
    in_groups(inputs, "age", range(20))
    inputs.meta["recordings"][0]["phenotypes"] = {}
    refuse(inputs, 1, "no TR")
    facts, table, html = run(inputs)
    assert facts["Groups"] == {"Site_ID": 3} and facts["GroupsDifferIn"] == {"Site_ID": ["median_tsnr"]}
    assert "3 groups of Site_ID (differing in median_tsnr)" in qcgroup.STAGE.describe(facts)
    assert table["Site_ID"].tolist()[2:6] == ["2", "2", "<i>Ulm", "<i>Ulm"] and pd.isna(table["Site_ID"].iloc[0])
    part = html.split('id="groups"')[1].split("<h2")[0]
    rows = [re.sub("<[^>]+>", " ", row).split() for row in part.split("<tr>")[2:]]
    assert [row[:4] for row in rows[:3]] == [
        ["2", "20", "0", "20"], ["10", "19", "1", "18"], ["&lt;i&gt;Ulm", "20", "0", "20"],
    ]  # fmt: skip
    marked = [row.count("<td class=o") for row in part.split("<tr>")[2:5]]
    assert marked == [0, 0, 1] and "Of 1 recording the group is not known" in part and "harmonized" in part
    assert html.count("base64,") == 2


def test_which_columns_are_compared(tmp_path: Path) -> None:
    inputs = in_groups(in_groups(cohort(tmp_path, 64), "Site", ["a"]), "age", range(32))
    rows = inputs.meta["recordings"]
    assert not groupings(rows, "auto") and not groupings(rows, [])  # one site
    facts, table, html = run(inputs, by=["age", "session"])
    assert facts["Groups"] == {"age": 32, "session": 0} and "The 30 groups with most" in html
    assert "Too few subjects to compare groups" in html and html.count("base64,") == 1
    assert "age" in table and "session_participants" not in table
    for row in rows:
        row["session"] = str(int(row["subject"]) % 30)
    (found,) = groupings(rows, "auto")
    assert found.column == "session" and found.groups[1:4] == ["1", "2", "3"] and len(found.groups) == 30
    assert 'id="groups"' not in run(inputs, by=[])[2]
    with pytest.raises(InputError, match="no column site in") as caught:
        run(inputs, by=["site"])
    assert "session, Site, age" in str(caught.value)


def test_a_column_called_as_one_of_the_table(tmp_path: Path) -> None:
    _, table, _ = run(in_groups(cohort(tmp_path, 16), "task", ["x", "y"]), by=["task"])
    assert table["task_participants"].unique().tolist() == ["x", "y"] and table["task"].iloc[0] == "rest"


COLUMNS = (
    "SITE", "site_id", "site id", "Manufacturer", "ManufacturersModelName", "Scanner.ID", "MagneticFieldStrength",
    "mri_info_manufacturer", "scan_site",
)  # fmt: skip


@pytest.mark.parametrize("column", COLUMNS)
def test_names_of_sites_and_scanners(column: str) -> None:
    assert check_columns("auto", [{"age": 3}, {column: "a", "website": "b"}]) == ["session", column]


def compared(values: Sequence[float], groups: Sequence[str], subjects: Sequence[Any] = (), **more: Any) -> Comparison:
    """`more`: of `Cohort.of`, and `tasks`."""
    tasks = more.pop("tasks", ["rest"] * len(values))
    rows = []
    for number, (value, group) in enumerate(zip(values, groups, strict=True)):
        subject = subjects[number] if subjects else number
        rows.append({"id": str(number), "subject": str(subject), "session": None, "task": tasks[number],
                     "status": "done", "warnings": [], "metrics": {"median_tsnr": value, "epi_r2": 0.5},
                     "phenotypes": {"site": group}})  # fmt: skip
    return compare(Cohort.of(rows, 3.5, more.pop("within_task", True)), groupings(rows, ["site"])[0])


def test_effects_and_p() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(["a", "b", "c"], [3000, 4000, 5000])
    values = rng.normal(50, 2, 12_000) + 6 * (groups == "c")
    three = compared(values.tolist(), groups.tolist())
    assert three.names == ["median_tsnr", "epi_r2"]
    np.testing.assert_allclose(three.effects[:, 0], [0, 0, 3], atol=0.1)
    assert (three.effects[:, 1] == 0).all() and three.p[1] == 1 and three.differing == ["median_tsnr"]
    two = compared(values[3000:].tolist(), groups[3000:].tolist())
    np.testing.assert_allclose(two.effects[:, 0], [-3, 3], atol=0.1)
    few = rng.normal(size=30)
    of = np.repeat(["a", "b", "c"], 10)
    p = kruskal(*[few[of == group] for group in "abc"]).pvalue
    assert compared(few.tolist(), of.tolist()).p[0] == pytest.approx(min(2 * p, 1))  # Holm, of two metrics
    small = compared(few.tolist(), ["a"] * 23 + ["b"] * 7)
    assert np.isnan(small.effects).all() and np.isnan(small.p).all() and np.isfinite(small.medians).all()


def test_a_site_with_a_task_of_its_own_is_not_compared() -> None:
    values, groups, tasks = np.arange(40.0).tolist(), ["a"] * 20 + ["b"] * 20, ["rest"] * 20 + ["wm"] * 20
    assert np.isnan(compared(values, groups, tasks=tasks).effects).all()
    assert compared(values, groups, tasks=tasks, within_task=False).differs[:, 0].all()
    mixed = [*[10.0, 11.0] * 20, *[90.0, 93.0] * 20]  # levels and spreads of tasks; the groups are alike
    assert not compared(mixed, ["a", "a", "b", "b"] * 20, tasks=["rest"] * 40 + ["wm"] * 40).differs.any()


def test_groups_that_are_alike_are_seldom_marked() -> None:
    rng = np.random.default_rng(5)
    subjects = np.repeat(np.arange(24), 6)  # six recordings each, which are alike
    groups = [("a", "b", "c")[subject % 3] for subject in subjects]
    tasks = [("rest", "wm")[number % 2] for number in range(len(subjects))]
    marked = 0
    for _ in range(40):
        values = rng.normal(size=24)[subjects] + 0.3 * rng.normal(size=len(subjects))
        marked += bool(compared(values.tolist(), groups, subjects.tolist(), tasks=tasks).differing)
    assert marked <= 4


@pytest.mark.parametrize(
    "section", [{"outlier_z": 0}, {"max_rows": 0}, {"rows": 3}, {"by": "site"}, {"by": [["site"]]}]
)
def test_impossible_sections(section: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Config(**section)


def test_golden(tmp_path: Path, golden: Callable[..., None]) -> None:
    facts, *_ = run(in_groups(cohort(tmp_path, 200), "site", "ABC"), outlier_z=2.5)
    golden(qcgroup.STAGE, {name: tmp_path / file for name, file in OUTPUTS.items()}, facts)
