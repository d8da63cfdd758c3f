"""All analyses written: pictures, tables, statistics and the page; nothing drawn empty, nothing foreign removed."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

from acquire.__main__ import app
from acquire.errors import StudyError
from acquire.studyfigures import draw_study, read_settings
from analysis.study import figures
from analysis.study.figures import Analysis, analyses, answer, write_figures
from analysis.study.finding import Finding, NotComputable, Statistic
from analysis.study.opening import open_study
from analysis.study.settings import StudySettings
from tests.drawn import drawn, make_drawn_study

FEW = StudySettings(runs=100)


@pytest.fixture
def study(tmp_path):
    with make_drawn_study(tmp_path / "study", drawn()) as made:
        yield made


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def picture():
    drawn_figure = Figure(figsize=(2, 1))
    drawn_figure.subplots().plot([0, 1])
    return drawn_figure


def made(name="07_rates", value=1.0):
    line = Statistic("rate (%)", "a against b", "Welch t", 4, 100, value, float("nan"), None, 0.5)
    return Finding(name, "Rates", "What is shown.", {"": pd.DataFrame({"rate": [value]})}, (line,), picture)


def refuse(tables, settings):
    raise NotComputable("no behaviour was given; write behaviour.csv")


def test_the_page_shows_what_is_computed_and_names_what_is_not(study, tmp_path, monkeypatch):
    asked = (Analysis(7, "Rates", lambda *_: made()), Analysis(14, "Behaviour", refuse))
    monkeypatch.setattr(figures, "analyses", lambda draw_field: asked)
    write_figures(open_study(study.folder), tmp_path / "out", FEW)
    page = (tmp_path / "out" / "figures.html").read_text(encoding="utf-8")
    assert "7. Rates" in page
    assert "14. Behaviour: no behaviour was given" in page
    told = json.loads((tmp_path / "out" / "statistics.json").read_text())
    (line,) = told["statistics"]
    assert line["analysis"] == "07_rates"
    assert (line["n_animals"], line["n_spines"], line["p"], line["low"]) == (4, 100, 0.5, None)
    assert line["seed"] == FEW.seed
    assert line["version"]
    assert told["not_computed"] == [
        {"analysis": 14, "question": "Behaviour", "reason": "no behaviour was given; write behaviour.csv"}
    ]
    assert {"07_rates.csv", "07_rates.parquet"} == {file.name for file in (tmp_path / "out" / "tables").iterdir()}


def test_the_same_study_gives_the_same_bytes_and_clears_its_own_files(study, tmp_path):
    out = tmp_path / "out"
    tables = open_study(study.folder)
    write_figures(tables, out, FEW)
    first = contents(out)
    (out / "figures" / "07_old_one.svg").write_text("of an earlier run")
    (out / "figures" / "mine.svg").write_text("a person's")
    write_figures(tables, out, FEW)
    again = contents(out)
    assert again.pop("figures/mine.svg") == b"a person's"
    assert again == first


def test_every_analysis_answers_or_says_why_not(study):
    """A study of one animal and one field: whatever cannot be told of it is said in a sentence."""
    tables = open_study(study.folder)
    answers = answer(tables, FEW, analyses())
    assert len(answers.findings) + len(answers.open) == len(analyses())
    for _, reason in answers.open:
        assert len(reason) > 20
        assert not reason.endswith(".")
    nobody = replace(tables, spines=tables.spines.assign(state="unscorable"))
    assert answer(nobody, FEW, analyses()).open


def test_fonts_travel_in_the_files(study, tmp_path):
    write_figures(open_study(study.folder), tmp_path, FEW)
    pdf = (tmp_path / "figures" / "01_gallery.pdf").read_bytes()
    assert b"/FontFile2" in pdf
    svg = (tmp_path / "figures" / "01_gallery.svg").read_text()
    assert "<text" not in svg


def test_images_are_drawn_where_the_stacks_are(study, tmp_path):
    told = draw_study(study.folder, tmp_path / "out", FEW, lambda *_: None)
    assert (tmp_path / "out" / "figures" / "01_gallery_images.png").is_file()
    assert "figures.html" in told[0]
    for store in (study.folder / "animals" / "M1" / "sessions").glob("*/F01/stack.ome.zarr"):
        store.rename(store.with_name("away"))
    told = draw_study(study.folder, tmp_path / "out", FEW, lambda *_: None)
    assert any("the stacks of M1 F01 are not in the study" in line for line in told)
    assert not (tmp_path / "out" / "figures" / "01_gallery_images.png").exists()


def test_settings_come_from_a_file_and_the_command_line(tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text("cluster_distance_um = 3.0\nseed = 4\n")
    chosen = read_settings(file, seed=9, runs=None)
    assert (chosen.cluster_distance_um, chosen.seed, chosen.runs) == (3.0, 9, 10_000)
    file.write_text("cluster_distance = 3.0\n")
    with pytest.raises(StudyError, match="cluster_distance"):
        read_settings(file)
    with pytest.raises(StudyError, match="cannot be read"):
        read_settings(tmp_path / "none.toml")


def test_the_command_refuses_what_is_no_study(tmp_path):
    result = CliRunner().invoke(app, ["figures", "--study", str(tmp_path), "--out", str(tmp_path / "out")])
    assert result.exit_code != 0
    assert "is no study" in str(result.exception)


def test_one_analysis_that_goes_wrong_keeps_none_of_the_others(study):
    def fail(tables, settings):
        raise ValueError("nobody foresaw this")

    asked = (Analysis(2, "Clusters", fail), Analysis(7, "Rates", lambda *_: made()))
    answers = answer(open_study(study.folder), FEW, asked)
    assert [finding.name for _, finding in answers.findings] == ["07_rates"]
    assert answers.open == ((asked[0], "nobody foresaw this"),)


def test_a_number_that_is_none_is_null(study, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "analyses", lambda draw_field: (Analysis(7, "Rates", lambda *_: made(value=np.nan)),))
    write_figures(open_study(study.folder), tmp_path, FEW)
    assert json.loads((tmp_path / "statistics.json").read_text())["statistics"][0]["value"] is None
