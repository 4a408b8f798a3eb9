"""The pages that take whole runs to make, with names that are markup: of a recording, the report, its figures."""

from __future__ import annotations

import base64
import json
import re
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from brainlm_data.runner.call import call
from brainlm_data.stage import Files
from brainlm_data.stages import qc
from brainlm_model import figures
from brainlm_model.figures import phenotype
from brainlm_model.figures.style import save, style
from brainlm_model.report import stage as report
from tests.attacks.test_names import HOSTILE, check_same_markup, spaced
from tests.model import results
from tests.model.results import artifact, files
from tests.stages import measured

NAME = " ".join(text for kind, text in HOSTILE.items() if kind != "long")
SHORT = HOSTILE["script"] + HOSTILE["maths"]  # figures cut what is endless


@pytest.mark.usefixtures("words_only")
def test_the_page_of_a_recording(tmp_path: Path) -> None:
    def make(given: str) -> str:
        folder = tmp_path / str(len(given))
        folder.mkdir()
        inputs = measured.recording(folder, t1w=False)
        table = pd.read_csv(inputs["atlas_table"], sep="\t")
        table["name"] = [f"{given}{i}" for i in range(len(table))]
        table["network"] = given
        table.to_csv(inputs["atlas_table"], sep="\t", index=False)
        for file in folder.glob("*.json"):
            facts = json.loads(file.read_text())
            facts |= {key: given for key in ("Space", "AtlasName") if key in facts}
            facts["GeneratedBy"] = {"Name": file.stem, "Description": f"By {given}."}
            file.write_text(json.dumps(facts))
        inputs.meta |= dict.fromkeys(("id", "subject", "session", "task", "run"), given)
        inputs.meta["metadata"] = {**inputs.meta.get("metadata", {}), "PhaseEncodingDirection": given}
        page = folder / "page.html"
        call(qc.STAGE, inputs, {"qc_metrics": folder / "qc.json", "qc_page": page}, qc.Config())
        return page.read_text()

    found = check_same_markup(make, NAME)
    assert spaced(f"By {NAME}.") in found.text and spaced(f"Below 0.5: {NAME}") in found.text


def named(outdir: Path, given: str) -> Files:
    """A finished run in which people, sites, reasons and warnings are called so: the inputs of the report."""
    table = pd.read_parquet(outdir / "recordings.parquet")
    first, refused = table.index[0], table.index[-1]
    table.loc[first, ["id", "subject", "session", "task"]] = given
    table.loc[refused, ["id", "reason"]] = given
    table.to_parquet(outdir / "recordings.parquet")
    metrics, page = outdir / "metrics.json", outdir / "derivatives" / "page.html"
    metrics.write_text(json.dumps({"warnings": [f"site {given} is odd"]}))
    config = json.loads(artifact(outdir, "model_config").read_text())
    config["training"] |= {"Model": given, "Notes": [given]}
    artifact(outdir, "model_config").write_text(json.dumps(config))
    content = json.loads(artifact(outdir, "masked_json").read_text())
    content["Warnings"].append(f"not evaluated: {given}")
    artifact(outdir, "masked_json").write_text(json.dumps(content))
    own = {"qc_page": str(page), "qc_metrics": str(metrics)}
    meta = {"recordings": [{"id": given, "files": own, "methods": {"train": f"Trained on {given}."}}]}
    return files(outdir, tuple(n for n in report.STAGE.inputs if not n.startswith("qc")), meta)


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose networks, which are in figures, have names that are markup."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "NETWORKS", (SHORT, HOSTILE["control"], HOSTILE["newline"], HOSTILE["long"]))
        return results.run_all(tmp_path_factory.mktemp("hostile"))


def test_the_report_and_its_figures(hostile_run: Path, tmp_path: Path) -> None:
    def make(given: str) -> str:
        outdir = tmp_path / str(len(given))
        shutil.copytree(hostile_run, outdir)
        outputs = {"report": outdir / "report.html"}
        call(report.STAGE, named(outdir, given), outputs, report.Config(title=given))
        return outputs["report"].read_text()

    found = check_same_markup(make, NAME)
    for words in (NAME, f"Trained on {NAME}.", f"not evaluated: {NAME}", f"site {NAME} is odd"):
        assert spaced(words) in found.text
    for address in found.addresses:
        assert re.match(r"#|data:image/svg|derivatives/|index\.html$", address)
        if address.startswith("data:"):
            check_svg(base64.b64decode(address.partition(",")[2]).decode())


def check_svg(text: str) -> None:
    """It is valid XML without anything that runs or leads away."""
    allowed = {"svg", "g", "path", "defs", "use", "rect", "clipPath", "image", "style", "metadata", "text", "tspan"}
    for element in ET.fromstring(text).iter():
        namespace, _, name = element.tag.rpartition("}")
        assert name in allowed or namespace != "{http://www.w3.org/2000/svg"
        links = [value for key, value in element.attrib.items() if key.endswith("href")]
        assert all(link.startswith(("#", "data:image/png")) for link in links)
        assert not [key for key in element.attrib if key.startswith("on")]


def test_figures_of_every_run_are_plain(hostile_run: Path) -> None:
    for name in figures.FIGURES:
        check_svg(artifact(hostile_run, f"{name}_svg").read_text())
        assert artifact(hostile_run, f"{name}_png").stat().st_size < 1_000_000


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_columns_of_the_participants_in_a_figure(name: str, tmp_path: Path) -> None:
    def row(method: str, **more: Any) -> dict[str, Any]:
        numbers = {"value": 0.3, "low": 0.1, "high": 0.5, "n_subjects": 9}
        words = {"column": name, "validation": name, "label": f"{method} {name}", "group": "ours", "metric": "r2"}
        return {"task": "regression", "method": method, **words, **numbers, **more}

    pd.DataFrame([row("a"), row("b")]).to_csv(tmp_path / "phenotype.csv", index=False)
    with style():
        save(phenotype.draw(tmp_path / "phenotype.csv"), tmp_path / "x.svg", tmp_path / "x.png", 60)
    check_svg((tmp_path / "x.svg").read_text())
