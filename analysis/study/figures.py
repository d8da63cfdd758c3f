"""All analyses of a study, one after the other, drawn and written; what cannot be computed is named with its reason.

An analysis knows nothing of files; nothing here knows what any of them counts. ``figures.html`` is written last: where
it is, all that it shows is whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from io import BytesIO
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis.page import Picture, Report, Section, write_report, write_whole
from analysis.study.behaviour import behaviour_and_spines
from analysis.study.chance import clustering_against_chance
from analysis.study.charts import paper_style
from analysis.study.clustering import clustered_share
from analysis.study.clusterorder import cluster_order
from analysis.study.clustersizes import cluster_sizes
from analysis.study.distances import clustered_share_by_distance
from analysis.study.dynamics import formation_and_elimination
from analysis.study.finding import Finding, NotComputable, Statistic
from analysis.study.gallery import DrawField, spine_images, spine_map
from analysis.study.measurement import measurement_quality
from analysis.study.pairs import spine_spacing
from analysis.study.reformation import reformation
from analysis.study.regimes import clustering_by_task
from analysis.study.settings import StudySettings
from analysis.study.sizes import head_size_of_first_spines
from analysis.study.spacing import distance_to_stable
from analysis.study.survival import persistence_of_new_spines, survival_of_old_spines
from analysis.study.tables import StudyTables
from analysis.tables import write_table

Analyse = Callable[[StudyTables, StudySettings], Finding]
Progress = Callable[[str, float], None]
PAGE, STATISTICS = "figures.html", "statistics.json"
PICTURES, TABLES = "figures", "tables"
FORMATS = ("svg", "pdf", "png")
NAMED = re.compile(r"\d\d_[a-z0-9_]+\.(svg|pdf|png|csv|parquet)")
"""Files that this program writes, and removes when it writes again."""
UNDATED: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}
ROWS_SHOWN = 24
"""Longer tables are not shown on the page: they are beside it."""


@dataclass(frozen=True)
class Analysis:
    """One analysis of the list of sixteen.

    Parameters
    ----------
    number
        Its number; several may share one.
    question
        What it asks, shown where it cannot be answered.
    make
        Answers it.
    """

    number: int
    question: str
    make: Analyse


@dataclass(frozen=True)
class Answers:
    """What became of all analyses: the findings, and the questions that have no answer with the reason."""

    findings: tuple[tuple[Analysis, Finding], ...]
    open: tuple[tuple[Analysis, str], ...]


def analyses(draw_field: DrawField | None = None) -> tuple[Analysis, ...]:
    """Return all analyses in their order; images are drawn by ``draw_field`` where it is given."""
    return (
        Analysis(1, "The same dendrites, session by session", spine_map),
        Analysis(1, "The same dendrites in their images", partial(spine_images, draw_field=draw_field)),
        Analysis(2, "How many new spines stand in clusters", clustered_share),
        Analysis(3, "How many new spines stand near another", clustered_share_by_distance),
        Analysis(4, "How large clusters are", cluster_sizes),
        Analysis(5, "When the first and the succedent spine of a cluster came", cluster_order),
        Analysis(6, "Whether chance alone makes as many clusters", clustering_against_chance),
        Analysis(7, "How many spines formed and were eliminated", formation_and_elimination),
        Analysis(8, "How long clustered and other new spines stay", persistence_of_new_spines),
        Analysis(9, "How long old spines stay", survival_of_old_spines),
        Analysis(10, "Clustering by task, beside formation", clustering_by_task),
        Analysis(11, "Whether the first spine of a cluster grows as the succedent joins", head_size_of_first_spines),
        Analysis(12, "How far new spines form from stable ones", distance_to_stable),
        Analysis(13, "How spines are spaced along the dendrite", spine_spacing),
        Analysis(14, "Behaviour beside clusters, turnover and persistence", behaviour_and_spines),
        Analysis(15, "Whether spines form again where others were eliminated", reformation),
        Analysis(16, "How good the measurement is", measurement_quality),
    )


def answer(
    tables: StudyTables,
    settings: StudySettings,
    asked: Sequence[Analysis],
    progress: Progress | None = None,
    unexpected: Callable[[Exception], str] = str,
) -> Answers:
    """Make all analyses of a study; one that goes wrong in a way nobody foresaw keeps none of the others."""
    findings: list[tuple[Analysis, Finding]] = []
    reasons: list[tuple[Analysis, str]] = []
    for done, analysis in enumerate(asked):
        if progress is not None:
            progress(analysis.question, done / len(asked))
        try:
            findings.append((analysis, analysis.make(tables, settings)))
        except NotComputable as reason:
            reasons.append((analysis, str(reason)))
        except Exception as error:  # noqa: BLE001 - the last resort of one figure of many
            reasons.append((analysis, unexpected(error)))
    return Answers(tuple(findings), tuple(reasons))


def write_figures(
    tables: StudyTables,
    out: Path,
    settings: StudySettings | None = None,
    *,
    draw_field: DrawField | None = None,
    progress: Progress | None = None,
    unexpected: Callable[[Exception], str] = str,
) -> Answers:
    """Make all analyses of a study and write pictures, tables, ``statistics.json`` and ``figures.html``.

    Parameters
    ----------
    tables
        The study.
    out
        Folder; files of an earlier run in it are removed, others are left alone.
    settings
        The laboratory's choices.
    draw_field
        Draws images of a dendrite, where there are any.
    progress
        Told what is done, and the share that is done.
    unexpected
        Says in a line what went wrong in an analysis, and keeps the details.

    Raises
    ------
    StackError
        A file cannot be written.
    """
    settings = settings or StudySettings()
    answers = answer(tables, settings, analyses(draw_field), progress, unexpected)
    _clear(out)
    with paper_style():
        sections = [_write_finding(finding, analysis, out) for analysis, finding in answers.findings]
    _write_statistics(tables, settings, answers, out)
    write_report(out / PAGE, _page(tables, settings, answers, sections))
    return answers


def _clear(out: Path) -> None:
    (out / PAGE).unlink(missing_ok=True)
    for folder in (out / PICTURES, out / TABLES):
        for file in folder.glob("*") if folder.is_dir() else ():
            if NAMED.fullmatch(file.name):
                file.unlink()


def _write_finding(finding: Finding, analysis: Analysis, out: Path) -> Section:
    figure = finding.draw()
    for kind in FORMATS:
        write_whole(out / PICTURES / f"{finding.name}.{kind}", _drawn(figure, kind))
    (out / TABLES).mkdir(parents=True, exist_ok=True)
    for name, table in finding.tables.items():
        write_table(table, out / TABLES / f"{finding.name}{'_' if name else ''}{name}.csv", parquet=True)
    return Section(
        f"{analysis.number}. {finding.title}",
        finding.legend,
        _shown(finding.statistics),
        [Picture.of(figure, f"{finding.name}: as SVG, PDF and PNG in {PICTURES}, its tables in {TABLES}")],
    )


def _drawn(figure: Figure, kind: str) -> bytes:
    """Return a picture as a file; the same picture gives the same bytes."""
    content = BytesIO()
    figure.savefig(content, format=kind, metadata=UNDATED[kind], facecolor=figure.get_facecolor())
    return content.getvalue()


def _shown(statistics: Sequence[Statistic]) -> pd.DataFrame | None:
    if not statistics:
        return None
    rows = [
        {
            "measure": line.measure,
            "of": line.comparison,
            "test": line.test,
            "animals": line.n_animals,
            "spines": line.n_spines,
            "value": line.value,
            "low": line.low,
            "high": line.high,
            "P": line.p,
            "P corrected": line.p_corrected,
        }
        for line in statistics
    ]
    table = pd.DataFrame(rows).head(ROWS_SHOWN)
    numbers = ["value", "low", "high", "P", "P corrected"]
    return table.assign(**{name: table[name].astype(float) for name in numbers})


def _write_statistics(tables: StudyTables, settings: StudySettings, answers: Answers, out: Path) -> None:
    release = version("samefield")
    lines = [
        {"analysis": finding.name, **_numbers_only(asdict(line)), "seed": settings.seed, "version": release}
        for _, finding in answers.findings
        for line in finding.statistics
    ]
    content = {
        "study": tables.name,
        "version": release,
        "settings": settings.model_dump(mode="json"),
        "left_out": list(tables.dropped),
        "not_computed": [
            {"analysis": each.number, "question": each.question, "reason": why} for each, why in answers.open
        ],
        "statistics": lines,
    }
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    write_whole(out / STATISTICS, (text + "\n").encode("utf-8"))


def _numbers_only(line: dict[str, Any]) -> dict[str, Any]:
    """Return a line with nothing for what is not a number: JSON knows no NaN."""
    return {key: None if isinstance(value, float) and not isfinite(value) else value for key, value in line.items()}


def _page(tables: StudyTables, settings: StudySettings, answers: Answers, sections: Sequence[Section]) -> Report:
    counts = tables.animals["group"].value_counts(sort=False)
    groups = ", ".join(f"{count} {group or 'of no group'}" for group, count in counts.items())
    spines = tables.spines.drop_duplicates(["animal", "field", "dendrite", "track"])
    dendrites = len(spines.drop_duplicates(["animal", "field", "dendrite"]))
    fields = len(spines.drop_duplicates(["animal", "field"]))
    subtitle = (
        f"{len(tables.animals)} animals ({groups}), {fields} fields, {dendrites} dendrites, {len(spines)} spines. "
        f"Seed {settings.seed}, {settings.runs} runs of each null."
    )
    every = [*sections]
    if answers.open:
        every.append(Section("Not computed", "\n\n".join(_reasons(answers))))
    return Report(f"{tables.name}: figures", every, subtitle, list(tables.dropped))


def _reasons(answers: Answers) -> Iterator[str]:
    for analysis, reason in answers.open:
        yield f"{analysis.number}. {analysis.question}: {reason}."
