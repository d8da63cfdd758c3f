"""The command line: every verb of the program, with one line and exit code 1 for whatever a user can cause."""

from __future__ import annotations

import json
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from acquire.errors import StudyError, tell_unexpected
from analysis.errors import ExperimentError
from analysis.jobs import keep_freed_memory
from analysis.model import Transform, Verdict

FORMAT_OPTION = "--format"
LIST_OPTIONS = ("--days", "--field", "--groups", FORMAT_OPTION)
LANDMARK_OPTION, LANDMARK_VALUES = "--landmark", 3
LONGEST_INTERVAL_S = 86400.0
CLOSING_S = 3.0
EXIT_NOT_FOUND = 3
EXIT_INTERRUPTED = 130

app = typer.Typer(
    help="Find the same dendrites again: revisit, image and compare dendritic spines in living brains.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

RigOption = Annotated[str, typer.Option("--rig", help="A rig config: a file, or 'simulated' or 'demo'.")]
StudyOption = Annotated[Path, typer.Option("--study", help="The study's folder.")]
AnimalOption = Annotated[str, typer.Option("--animal", help="The animal's id.")]
FieldsOption = Annotated[list[str] | None, typer.Option("--field", help="One field or several; all when not given.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]
DayOption = Annotated[float | None, typer.Option("--day", help="Days since the first session; else from the clock.")]
LandmarkOption = Annotated[
    list[str] | None,
    typer.Option(LANDMARK_OPTION, metavar="NAME X Y", help="A landmark and its stage position today, um; two or more."),
]
NewSessionOption = Annotated[bool, typer.Option("--new-session", help="Do not go on with the last session.")]


@contextmanager
def _progress_bar() -> Iterator[Callable[[str, float], None]]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda what, share: bar.update(task, description=what, completed=min(share, 1.0))


def _print_json(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")


@app.command()
def demo(
    folder: Annotated[Path | None, typer.Option("--out", help="Where to make the study; must be empty.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Which mouse is generated.")] = 0,
    days: Annotated[list[float] | None, typer.Option("--days", help="Days of the sessions, e.g. --days 0 4 8.")] = None,
    fields: Annotated[int | None, typer.Option(min=1, max=12, help="Fields to keep on the first day.")] = None,
    sample: Annotated[str, typer.Option(help="'cortex', or a folder of recorded stacks.")] = "cortex",
    as_json: JsonOption = False,
) -> None:
    """Run a whole study on simulated hardware and print how far it was from the truth."""
    from acquire.demo import DemoPlan, run_demo

    folder = folder or _free_folder(Path("samefield-demo"))
    plan = DemoPlan(seed=seed, days=tuple(days) if days else None, fields=fields, sample=sample)
    with _progress_bar() as progress:
        result = run_demo(folder, plan, progress)
    out.print(_rich_table(result.relocation_table()))
    out.print(_rich_table(result.counts.drop(columns=["gained_percent", "lost_percent"], errors="ignore")))
    scores = {**{f"spines {name}": score for name, score in result.spines.items()}, **result.fates}
    known = [f"{name.replace('_', ' ')} {score:.2f}" for name, score in scores.items() if score is not None]
    out.print(f"Against the truth: {', '.join(known) or 'not known for recorded stacks'}")
    out.print(f"Report: {result.report}  ({result.seconds:.0f} s)")
    if as_json:
        _print_json(result.as_json())


def _rich_table(frame: Any) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for column in frame.columns:
        table.add_column(str(column).replace("_percent", " %").replace("_", " "), justify="right")
    for row in frame.itertuples(index=False):
        table.add_row(*(_cell(value) for value in row))
    return table


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.4g}"
    return str(value)


def _free_folder(wanted: Path) -> Path:
    folder, number = wanted, 2
    while folder.exists():
        folder, number = wanted.with_name(f"{wanted.name}-{number}"), number + 1
    return folder


@app.command()
def gui(
    rig: RigOption,
    study: StudyOption,
    bright: Annotated[bool, typer.Option("--light", help="Light colours, for a room that is not dark.")] = False,
) -> None:
    """Open the experimenter's window."""
    from acquire.gui import SYSTEM_PACKAGES

    try:
        from acquire.gui.app import run
    except ImportError as error:
        raise StudyError(
            f"the window needs Qt, which does not load here ({error}); install {SYSTEM_PACKAGES}"
        ) from error
    raise typer.Exit(run(study, rig, bright=bright))


@app.command("new-study")
def new_study(
    study: Annotated[Path, typer.Argument(help="The folder to make.")],
    name: Annotated[str | None, typer.Option(help="The study's name; else the folder's.")] = None,
    groups: Annotated[list[str] | None, typer.Option("--groups", help="Names of the groups.")] = None,
    protocol: Annotated[Path | None, typer.Option(help="TOML file: how its fields are taken, and when.")] = None,
    blind: Annotated[bool, typer.Option("--blind", help="Hide the groups in the window.")] = False,
) -> None:
    """Make a study."""
    from acquire.model import StudyRecord
    from acquire.protocol import Protocol, read_protocol
    from acquire.store import Study

    plans = read_protocol(protocol) if protocol is not None else Protocol()
    record = StudyRecord(
        name=name or study.resolve().name,
        groups=tuple(groups or ()),
        plan=plans.stack,
        overview_plan=plans.overview,
        blind=blind,
        days=plans.days,
    )
    with Study.create(study, record):
        out.print(f"made {study}")


@app.command("new-animal")
def new_animal(
    study: Annotated[Path, typer.Argument(help="The study's folder.")],
    animal: Annotated[str, typer.Argument(help="The animal's id.")],
    group: Annotated[str, typer.Option(help="Its group.")] = "",
    power_limit_mw: Annotated[
        float | None, typer.Option("--power-limit-mw", help="Never more than this at the sample, whatever a plan says.")
    ] = None,
) -> None:
    """Add an animal to a study."""
    from acquire.model import AnimalRecord
    from acquire.store import Study, made_record

    with Study(study) as opened:
        opened.new_animal(made_record(AnimalRecord, id=animal, group=group, power_limit_mw=power_limit_mw))
        out.print(f"added {animal} to {study}")


@contextmanager
def _session(
    rig_name: str,
    study: Path,
    animal: str,
    day: float | None,
    new_session: bool,
    progress: Callable[[str, float], None],
    check: Callable[[Any, str, Any], None] | None = None,
) -> Iterator[Any]:
    """Open rig and session; ``check`` may refuse study, animal and rig config before a session is begun."""
    from acquire.config import read_rig_config
    from acquire.opening import open_rig
    from acquire.session import Session
    from acquire.store import Study

    config = read_rig_config(rig_name)
    with Study(study) as opened:
        opened.animal(animal)
        if check is not None:
            check(opened, animal, config)
        with open_rig(config) as rig:
            for line in config.missing():
                err.print(f"note: {line}")
            try:
                with Session.open(opened, animal, rig, day=day, new=new_session, progress=progress) as session:
                    if session.goes_on:
                        err.print(
                            f"note: session {session.record.name} goes on; was the head re-mounted: --new-session"
                        )
                    yield session
            finally:
                for alarm in rig.alarms:
                    err.print(f"warning: {alarm}", markup=False)


@app.command("new-field")
def new_field(
    rig: RigOption,
    study: StudyOption,
    animal: AnimalOption,
    name: Annotated[str | None, typer.Option(help="Its name; else the next of F01, F02...")] = None,
    at: Annotated[
        tuple[float, float, float] | None,
        typer.Option("--at", metavar="X Y Z", help="Stage position, um; else where it stands."),
    ] = None,
    day: DayOption = None,
    new_session: NewSessionOption = False,
) -> None:
    """Keep the place where the stage stands as a field: vessel map, overview and first stack."""
    from acquire.model import StagePosition
    from acquire.rig import Remountable
    from acquire.store import made_record

    asked = None if at is None else made_record(StagePosition, x_um=at[0], y_um=at[1], z_um=at[2])
    with _progress_bar() as progress, _session(rig, study, animal, day, new_session, progress) as session:
        if session.rig.config.roles.surface_camera and session.record.surface is None:
            session.map_surface()
        if asked is None and isinstance(session.rig.loaded, Remountable):
            kept = len(session.study.animal(animal).fields)
            x, y, z = session.rig.loaded.good_places(kept + 1)[-1]
            asked = StagePosition(x_um=x, y_um=y, z_um=z)
        if asked is not None:
            session.rig.move_to(asked)
        if session.needs_wide_stack():
            session.map_surface()
        field = session.new_field(name)
        store = session.take_stack(field.name)
        quality = session.quality(field.name)
    out.print(f"field {field.name} at {field.position}: {quality.light}, {quality.advice}")
    out.print(str(store))


@app.command("map-surface")
def map_surface(
    rig: RigOption,
    study: StudyOption,
    animal: AnimalOption,
    tiles: Annotated[
        tuple[int, int], typer.Option("--tiles", metavar="R C", min=1, help="Rows and columns of images.")
    ] = (1, 1),
    photograph: Annotated[
        Path | None, typer.Option("--photo", help="A photograph from another microscope becomes the map.")
    ] = None,
    pixel_um: Annotated[float | None, typer.Option("--pixel-um", help="Its pixel size, um.")] = None,
    landmarks: LandmarkOption = None,
    day: DayOption = None,
    new_session: NewSessionOption = False,
) -> None:
    """Map the surface vessels, or find today's in the map; exit code 3 when they are not found."""
    from acquire.commands import SurfaceMapping, check_mapping
    from acquire.commands import map_surface as map_it

    mapping = SurfaceMapping(tiles, photograph, pixel_um, _landmark_places(landmarks))
    check = partial(check_mapping, mapping=mapping)
    with _progress_bar() as progress, _session(rig, study, animal, day, new_session, progress, check) as session:
        verdict, told = map_it(session, mapping)
        marks = session.landmarks()
    for line in told:
        out.print(line)
    for mark in marks:
        if mark.map_yx_um is not None and not mark.refused:
            out.print(f"  {mark.name}: y {mark.map_yx_um[0]:.0f}, x {mark.map_yx_um[1]:.0f} um of the map")
    _exit_unless_found(verdict)


def _landmark_places(given: Sequence[str] | None) -> dict[str, tuple[float, float]]:
    """Return names and stage positions (x, y), um; each was given as three words."""
    places: dict[str, tuple[float, float]] = {}
    for words in (each.split() for each in given or ()):
        try:
            name, x, y = words
            place = float(x), float(y)
        except ValueError as error:
            raise typer.BadParameter(
                f"{LANDMARK_OPTION} {' '.join(words)}: give a name and two numbers, as in {LANDMARK_OPTION} V1 120 -340"
            ) from error
        if name in places:
            raise typer.BadParameter(f"{LANDMARK_OPTION} {name} was given twice; give each landmark once")
        places[name] = place
    return places


def _check(places: dict[str, tuple[float, float]], fields: Sequence[str] | None) -> Callable[[Any, str, Any], None]:
    """Return what refuses landmarks and fields that are not there before a session is begun for them."""
    from acquire.commands import check_fields, check_landmarks

    def check(study: Any, animal: str, config: Any) -> None:
        check_fields(study, animal, fields or ())
        check_landmarks(study, animal, config, places)

    return check


def _align(session: Any, places: dict[str, tuple[float, float]]) -> None:
    from acquire.commands import tell_alignment

    if places:
        for line in tell_alignment(session.align_by_landmarks(places)):
            out.print(line)


@app.command()
def relocate(
    rig: Annotated[str | None, typer.Option("--rig", help="A rig config: a file, or 'simulated' or 'demo'.")] = None,
    study: Annotated[Path | None, typer.Option("--study", help="The study's folder.")] = None,
    animal: Annotated[str | None, typer.Option("--animal", help="The animal's id.")] = None,
    fields: FieldsOption = None,
    day: DayOption = None,
    new_session: NewSessionOption = False,
    landmarks: LandmarkOption = None,
    replay: Annotated[
        Path | None, typer.Option("--replay", help="A relocation.json: register its overviews anew, off the rig.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find fields again; exit code 3 when one was not found."""
    from acquire.commands import find_fields, tell_relocation
    from acquire.replay import replay_relocation

    refused: list[str] = []
    if replay is not None:
        beside = {"--rig": rig, "--study": study, "--animal": animal, "--field": fields, "--day": day}
        beside |= {"--new-session": new_session, LANDMARK_OPTION: landmarks}
        if given := [option for option, value in beside.items() if value not in (None, False)]:
            raise typer.BadParameter(f"--replay needs the file alone; leave out {', '.join(given)}")
        again = replay_relocation(replay)
        records, told = [again.replayed], [tell_relocation(again.replayed), again.told]
    elif rig is None or study is None or animal is None:
        raise typer.BadParameter("give --rig, --study and --animal, or --replay FILE")
    else:
        places = _landmark_places(landmarks)
        check = _check(places, fields)
        with _progress_bar() as progress, _session(rig, study, animal, day, new_session, progress, check) as session:
            _align(session, places)
            records, refused = find_fields(session, fields)
            told = [*(tell_relocation(record, session.study) for record in records), *refused]
            if found := [record.field for record in records if record.verdict is Verdict.FOUND]:
                told.append(f"head: {session.head_advice(found[-1])}")
    for line in told:
        out.print(line, markup=False)
    if as_json:
        recorded = {} if replay is None else {"recorded": again.recorded.model_dump(mode="json")}
        _print_json({"relocations": [record.model_dump(mode="json") for record in records], **recorded})
    if refused or any(record.verdict is not Verdict.FOUND for record in records):
        raise typer.Exit(EXIT_NOT_FOUND)


@app.command()
def acquire(
    rig: RigOption,
    study: StudyOption,
    animal: AnimalOption,
    fields: FieldsOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what was cut short; leave whole stacks.")
    ] = False,
    repeats: Annotated[int, typer.Option(min=1, help="Stacks of each field, one after the other.")] = 1,
    interval_s: Annotated[
        float, typer.Option("--interval-s", min=0.0, max=LONGEST_INTERVAL_S, help="From start to start, s.")
    ] = 0.0,
    match_power: Annotated[
        bool, typer.Option("--match-power", help="Take them with the power that gives the first day's brightness.")
    ] = False,
    retake: Annotated[bool, typer.Option("--retake", help="Take bad planes again at once.")] = False,
    accept_unsure: Annotated[bool, typer.Option("--accept-unsure", help="Take fields that are unsure.")] = False,
    landmarks: LandmarkOption = None,
    day: DayOption = None,
    new_session: NewSessionOption = False,
) -> None:
    """Find the fields again and take their stacks; exit code 3 when one was not found."""
    from acquire.commands import Taking, take_fields

    taking = Taking(
        resume=resume,
        repeats=repeats,
        interval_s=interval_s,
        accept_unsure=accept_unsure,
        retake=retake,
        match_power=match_power,
    )
    places = _landmark_places(landmarks)
    check = _check(places, fields)
    with _progress_bar() as progress, _session(rig, study, animal, day, new_session, progress, check) as session:
        _align(session, places)
        missed = take_fields(session, fields, taking, out.print)
    if missed:
        raise typer.Exit(EXIT_NOT_FOUND)


@app.command()
def analyse(
    stacks: Annotated[list[Path] | None, typer.Argument(help="Stacks of one field, in session order.")] = None,
    folder: Annotated[Path | None, typer.Option("--out", help="Where the tables and pictures go.")] = None,
    dendrites: Annotated[Path | None, typer.Option(help="CSV of traced dendrites of the first stack.")] = None,
    voxel_um: Annotated[
        tuple[float, float, float] | None, typer.Option("--voxel-um", metavar="Z Y X", help="Voxel size, um.")
    ] = None,
    spines: Annotated[Path | None, typer.Option(help="CSV of spines marked by a person: link these.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Spine network trained on your own stacks (.onnx).")] = None,
    study: Annotated[
        str | None, typer.Option(help="Analyse the fields of a study instead: its folder, or a URL (s3://...).")
    ] = None,
    animal: Annotated[str | None, typer.Option(help="Only this animal of the study.")] = None,
    fields: FieldsOption = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Analyse the study on this dask cluster, e.g. tcp://10.0.0.5:8786.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Analyse so many fields of the study at a time, each in its own process.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Analyse also fields that are up to date.")] = False,
) -> None:
    """Detect, match and compare spines: in any lab's stacks of one field, or in a study.

    A study goes on past a field that cannot be analysed, and ends with exit code 1, its name and the reason.
    """
    if (study is None) == (not stacks):
        raise typer.BadParameter("give either stacks with --out, or --study")
    if study is not None and spines is not None:
        raise typer.BadParameter("--spines needs stacks with --out, not --study")
    if study is None and (scheduler is not None or workers is not None or again):
        raise typer.BadParameter("--scheduler, --workers and --again are for --study")
    keep_freed_memory()
    with _progress_bar() as progress:
        if study is not None:
            from acquire.commands import analyse_study
            from acquire.planning import StudyAnalysis

            asked = StudyAnalysis(animal, tuple(fields or ()), folder, weights, again, scheduler, workers)
            analyse_study(study, asked, progress, partial(out.print, markup=False))
        elif folder is None:
            raise typer.BadParameter("--out says where the tables go")
        else:
            from acquire.analysing import analyse_stacks

            own = {"spines": spines, "weights": weights}
            out.print(analyse_stacks(stacks or [], folder, dendrites, voxel_um, progress, **own))


@app.command()
def figures(
    study: Annotated[Path, typer.Option(help="The study, analysed.")],
    folder: Annotated[Path, typer.Option("--out", help="Where figures.html, pictures, tables and statistics.json go.")],
    settings: Annotated[Path | None, typer.Option(help="TOML of what is chosen differently (see the guide).")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of all that is drawn at random.")] = None,
    runs: Annotated[int | None, typer.Option(min=100, help="Runs of each null; 10,000 when not given.")] = None,
) -> None:
    """Draw every figure of a study, with the tables and the statistics behind it."""
    from acquire.studyfigures import draw_study, read_settings

    chosen = read_settings(settings, seed=seed, runs=runs)
    with _progress_bar() as progress:
        told = draw_study(study, folder, chosen, progress)
    for line in told:
        out.print(line)


@app.command()
def register(
    reference: Annotated[Path, typer.Argument(help="The stack of the field as it was.")],
    today: Annotated[Path, typer.Argument(help="Today's stack.")],
    voxel_um: Annotated[
        tuple[float, float, float] | None, typer.Option("--voxel-um", metavar="Z Y X", help="Voxel size of both, um.")
    ] = None,
    channel: Annotated[int, typer.Option(min=0, help="Which channel of both is compared, from 0.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Register two stacks of one field in 3-D; exit code 3 when it is not found."""
    from acquire.commands import tell_registration
    from analysis.register import register_stacks
    from analysis.stack import read_stack

    stacks = [read_stack(path, voxel_um=voxel_um, channel=channel) for path in (reference, today)]
    found = register_stacks(*stacks)
    out.print(tell_registration(found, stacks, channel), markup=False)
    pose = found.reference_from_today
    shift_um = [round(float(value), 4) for value in pose.matrix[:3, 3]]
    if as_json:
        _print_json(
            {
                "reference_from_today": _rows(pose),
                "shift_zyx_um": shift_um,
                "yaw_deg": pose.yaw_deg,
                "tilt_deg": pose.tilt_deg,
                "tilt_yx_deg": list(pose.tilt_yx_deg),
                "score": found.score,
                "probability": found.probability,
                "verdict": str(found.verdict),
            }
        )
    _exit_unless_found(found.verdict)


@app.command("register-surface")
def register_surface(
    map_image: Annotated[Path, typer.Argument(metavar="MAP", help="The vessel map.")],
    today: Annotated[Path, typer.Argument(help="Today's picture of the vessels.")],
    pixel_um: Annotated[
        tuple[float, float] | None, typer.Option("--pixel-um", metavar="MAP TODAY", help="Pixel sizes, um.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Register two pictures of the surface vessels; exit code 3 when they do not fit."""
    from acquire.commands import register_pictures, surface_numbers, tell_surface

    found = register_pictures(map_image, today, pixel_um)
    for line in tell_surface(found):
        out.print(line)
    if as_json:
        _print_json({"map_from_today": _rows(found.map_from_today), **surface_numbers(found)})
    _exit_unless_found(found.verdict)


def _rows(transform: Transform) -> list[list[float]]:
    return [[float(value) for value in row] for row in transform.matrix]


def _exit_unless_found(verdict: Verdict) -> None:
    if verdict is not Verdict.FOUND:
        raise typer.Exit(EXIT_NOT_FOUND)


@app.command("check-rig")
def check_rig(rig: Annotated[str, typer.Argument(metavar="RIG", help="A rig config: a file, or its name.")]) -> None:
    """Load a rig, move, snap, close the shutter; a line a role; exit code 1 with the reason."""
    from acquire.checks import check_devices
    from acquire.config import read_rig_config
    from acquire.opening import open_rig

    config = read_rig_config(rig)
    with open_rig(config) as opened:
        for line in check_devices(opened):
            out.print(line)
    for line in config.missing():
        out.print(f"note: {line}")


@app.command("simulate-study")
def simulate_study(
    study: Annotated[Path, typer.Argument(help="The folder to make.")],
    animals: Annotated[int, typer.Option(min=1, max=100, help="In every group.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Which study is drawn.")] = 0,
    null: Annotated[bool, typer.Option("--null", help="A study without any effect: all groups alike.")] = False,
) -> None:
    """Make a study of tables alone, with known effects, to see what 'samefield figures' says of it."""
    from acquire.planting import plant_on_disk
    from analysis.study.plan import PlantedPlan, null_plan

    tables = plant_on_disk(study, null_plan() if null else PlantedPlan(), animals=animals, seed=seed)
    out.print(f"made {study}: {len(tables.animals)} simulated animals in {len(tables.groups)} groups")


@app.command()
def export(
    study: StudyOption,
    folder: Annotated[Path, typer.Option("--out", help="Where the files go; the study is only read.")],
    animal: Annotated[str | None, typer.Option(help="Only this animal.")] = None,
    fields: FieldsOption = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(FORMAT_OPTION, help="imagej, swc, labels, tables, nwb; one or several. All but nwb if none."),
    ] = None,
    as_analysed: Annotated[bool, typer.Option("--as-analysed", help="Without the decisions of the review.")] = False,
    with_image: Annotated[bool, typer.Option("--with-image", help="Copy the stack beside its labels.")] = False,
    voxel_um: Annotated[
        tuple[float, float, float] | None,
        typer.Option("--voxel-um", metavar="Z Y X", help="Voxel size of sessions without a stack, um."),
    ] = None,
) -> None:
    """Write spines and dendrites for other programs: ImageJ ROIs, SWC, OME-Zarr labels, tables, NWB."""
    from acquire.exporting import USUAL, ExportPlan, Format, export_study

    try:
        asked = tuple(dict.fromkeys(Format(name) for name in formats)) if formats else USUAL
    except ValueError as error:
        raise typer.BadParameter(f"{FORMAT_OPTION}: {error}; give some of {', '.join(Format)}") from error
    plan = ExportPlan(asked, animal, tuple(fields) if fields else None, as_analysed, with_image, voxel_um)
    with _progress_bar() as progress:
        told = export_study(study, folder, plan, progress)
    for line in told:
        out.print(line, markup=False)


@app.command("import")
def import_(
    stack: Annotated[Path, typer.Argument(help="A stack of any program: a file, or the folder of a recording.")],
    study: StudyOption,
    animal: AnimalOption,
    field: Annotated[str, typer.Option("--field", help="The field; made when the animal has none of that name.")],
    day: Annotated[
        float | None, typer.Option("--day", help="Days since the first session; else from the file.")
    ] = None,
    voxel_um: Annotated[
        tuple[float, float, float] | None, typer.Option("--voxel-um", metavar="Z Y X", help="Voxel size, um.")
    ] = None,
) -> None:
    """Take a stack of another program into a study."""
    from acquire.importing import Place, import_stack

    for line in import_stack(stack, study, Place(animal, field, day), voxel_um=voxel_um):
        out.print(line, markup=False)


@app.command("import-spines")
def import_spines(
    files: Annotated[list[Path], typer.Argument(help="One for all sessions, or one a session in the order of time.")],
    study: StudyOption,
    animal: AnimalOption,
    field: Annotated[str, typer.Option("--field", help="The field; made when the animal has none of that name.")],
    form: Annotated[
        str | None, typer.Option(FORMAT_OPTION, help="csv, imagej, swc or mapmanager; else by the name.")
    ] = None,
    days: Annotated[list[float] | None, typer.Option("--days", help="Day of each session, e.g. --days 0 4 8.")] = None,
    dendrites: Annotated[Path | None, typer.Option(help="CSV of the dendrites, beside a CSV of spines.")] = None,
    voxel_um: Annotated[
        tuple[float, float, float] | None, typer.Option("--voxel-um", metavar="Z Y X", help="Voxel size, um.")
    ] = None,
) -> None:
    """Take spines marked in another program into a study, as an analysed field.

    A CSV has one row a spine and session: session (0, 1, ...), track_id (equal: the same spine), head_z_um, head_y_um,
    head_x_um, um from the centre of the first voxel; if known dendrite, base_z_um, base_y_um, base_x_um, state.
    """
    from acquire.importing import MarkFormat, Marks, Place
    from acquire.importing import import_spines as take_in

    try:
        known = None if form is None else MarkFormat(form)
    except ValueError as error:
        raise typer.BadParameter(f"{FORMAT_OPTION}: {error}; give one of {', '.join(MarkFormat)}") from error
    marks = Marks(tuple(files), known, dendrites, tuple(days) if days else None, voxel_um)
    for line in take_in(marks, study, Place(animal, field)):
        out.print(line, markup=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    _leave_gently()
    try:
        code = int(app(args=expand_lists(join_landmarks(given)), standalone_mode=False, prog_name="samefield") or 0)
    except (typer.Abort, KeyboardInterrupt):
        code = EXIT_INTERRUPTED
    except typer.TyperException as error:
        if given:  # without any argument the help has been printed, and says it all
            err.print(f"error: {_usage(error)} (samefield --help)", markup=False)
        return 1 if given else 0
    except ExperimentError as error:
        err.print(f"error: {error}", markup=False)
        return 1
    except Exception as error:  # noqa: BLE001 - the last resort of the program: one line, and the rest to a log
        return _report_unexpected(error)
    if code == EXIT_INTERRUPTED:
        err.print("stopped; the light is off")
    return code


def _leave_gently() -> None:
    """Let a request to end, from the system or from a closed terminal, take the same ways out as Ctrl-C.

    Those close the light. More requests in the seconds that this takes are not obeyed: it is what they ask for.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    asked_s = -math.inf

    def interrupt(_signal: int, _frame: object) -> None:
        nonlocal asked_s
        if time.monotonic() - asked_s > CLOSING_S:
            asked_s = time.monotonic()
            raise KeyboardInterrupt

    # SIGTSTP (Ctrl-Z) too: a program that is suspended cannot close the light.
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK", "SIGTSTP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, interrupt)


def _usage(error: Exception) -> str:
    told = getattr(error, "format_message", None)
    return " ".join((told() if told else str(error)).split())


def _report_unexpected(error: Exception) -> int:
    err.print(f"error: {tell_unexpected(error)}", markup=False)
    return 1


def join_landmarks(arguments: Sequence[str]) -> list[str]:
    """Let ``--landmark`` take three words, again and again.

    >>> join_landmarks(["relocate", "--landmark", "V1", "120", "-340", "--json"])
    ['relocate', '--landmark', 'V1 120 -340', '--json']
    """
    joined: list[str] = []
    left = list(arguments)
    while left:
        joined.append(left.pop(0))
        if joined[-1] == LANDMARK_OPTION:
            joined.append(" ".join(left[:LANDMARK_VALUES]))
            del left[:LANDMARK_VALUES]
    return joined


def expand_lists(arguments: Sequence[str]) -> list[str]:
    """Let list options take several values: ``--days 0 4 8`` is read as ``--days 0 --days 4 --days 8``.

    >>> expand_lists(["demo", "--days", "0", "4", "--json"])
    ['demo', '--days', '0', '--days', '4', '--json']
    """
    expanded: list[str] = []
    option, values = None, 0
    for argument in arguments:
        if argument.startswith("--"):
            option, values = (argument if argument in LIST_OPTIONS else None), 0
        elif option is not None:
            if values:
                expanded.append(option)
            values += 1
        expanded.append(argument)
    return expanded


if __name__ == "__main__":
    sys.exit(main())
