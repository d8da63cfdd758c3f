"""Nothing outside the limits is ever sent to a device, whatever is asked; what is refused is refused in the dark."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from acquire.config import PowerCalibration, RigConfig, read_rig_config
from acquire.engine import PlanesInMemory, take_stack
from acquire.errors import ExperimentError, RigError
from acquire.model import OVERVIEW_PLAN, AnimalRecord, StackPlan, StagePosition, StudyRecord
from acquire.opening import open_rig
from acquire.rig import Rig
from acquire.session import Session
from acquire.store import Study

SIMULATED = read_rig_config("simulated")
LARGE_UM = 1e4
ROUNDING = 1e-9


class ObedientCore:
    """A core of devices that do at once what they are told, and write it down.

    Parameters
    ----------
    x_um, y_um, z_um
        Where the stage was left.
    steps
        How many steps of a sequence drive and power can hold; 0 when they have none.
    """

    def __init__(self, x_um=0.0, y_um=0.0, z_um=0.0, steps=0):
        self.xy, self.z, self.steps = (x_um, y_um), z_um, steps
        self.properties, self.camera, self.is_open = {}, "Scanner", False
        self.sent_xy, self.sent_z, self.sent_power, self.times_lit = [], [], [], 0
        self.frames, self.number = 0, 0

    def setXYPosition(self, _stage, x, y):  # noqa: N802 - these names are Micro-Manager's
        self.sent_xy.append(((x, y), self.xy, self.z))
        self.xy = (x, y)

    def getXYPosition(self, _stage):  # noqa: N802
        return self.xy

    def setPosition(self, _drive, z):  # noqa: N802
        self.sent_z.append(z)
        self.z = z

    def getPosition(self, _drive):  # noqa: N802
        return self.z

    def setProperty(self, device, name, value):  # noqa: N802
        self.properties[device, name] = value
        if device == "Pockels":
            self.sent_power.append(value)

    def getProperty(self, device, name):  # noqa: N802
        return self.properties.get((device, name), 0.0)

    def setShutterOpen(self, _shutter, is_open):  # noqa: N802
        self.is_open = is_open
        self.times_lit += is_open

    def getShutterOpen(self, _shutter):  # noqa: N802
        return self.is_open

    def setCameraDevice(self, camera):  # noqa: N802
        self.camera = camera

    def getCameraDevice(self):  # noqa: N802
        return self.camera

    def waitForDevice(self, _device):  # noqa: N802
        pass

    def getImageWidth(self):  # noqa: N802
        return int(self.properties["Scanner", "Resolution"])

    getImageHeight = getImageWidth  # noqa: N815

    def getBytesPerPixel(self):  # noqa: N802
        return 2

    def getExposure(self, _camera):  # noqa: N802
        return 1.0

    def snapImage(self):  # noqa: N802
        self.number += 1

    def getImage(self, _channel=0):  # noqa: N802
        return (
            np.random.default_rng(self.number).poisson(100, (self.getImageHeight(), self.getImageWidth())).astype("u2")
        )

    # ---- sequences ---------------------------------------------------------------------------------------------

    def images_per_burst_frame(self):
        return 1

    def isStageSequenceable(self, _drive):  # noqa: N802
        return self.steps > 0

    def isPropertySequenceable(self, _device, _name):  # noqa: N802
        return self.steps > 0

    def getStageSequenceMaxLength(self, _drive):  # noqa: N802
        return self.steps

    def getPropertySequenceMaxLength(self, _device, _name):  # noqa: N802
        return self.steps

    def loadStageSequence(self, _drive, z_um):  # noqa: N802
        assert len(z_um) <= self.steps
        self.sent_z += z_um
        self.z = z_um[-1]

    def loadPropertySequence(self, device, name, values):  # noqa: N802
        assert len(values) <= self.steps
        self.sent_power += [float(value) for value in values]
        self.properties[device, name] = float(values[-1])

    def startSequenceAcquisition(self, _camera, frames, *_):  # noqa: N802
        self.frames = frames

    def getRemainingImageCount(self):  # noqa: N802
        return self.frames

    def popNextImageAndMD(self):  # noqa: N802
        self.frames -= 1
        self.number += 1
        return self.getImage(), {}

    def isSequenceRunning(self, _camera):  # noqa: N802
        return self.frames > 0

    def startStageSequence(self, _drive):  # noqa: N802
        pass

    def startPropertySequence(self, _device, _name):  # noqa: N802
        pass

    def stopStageSequence(self, _drive):  # noqa: N802
        pass

    def stopPropertySequence(self, _device, _name):  # noqa: N802
        pass

    def stopSequenceAcquisition(self, _camera):  # noqa: N802
        pass

    def initializeCircularBuffer(self):  # noqa: N802
        pass


def with_changes(config: RigConfig, **changes) -> RigConfig:
    return RigConfig.model_validate({**config.model_dump(), **changes})


# ---- what may be drawn ----------------------------------------------------------------------------------------------

coordinate_um = st.one_of(st.floats(-LARGE_UM, LARGE_UM), st.floats(-300, 300))
position = st.builds(StagePosition, x_um=coordinate_um, y_um=coordinate_um, z_um=coordinate_um)
unbounded = st.one_of(coordinate_um, st.floats(), st.sampled_from([math.nan, math.inf, -math.inf]))
MIRRORS = [((a, 0), (0, b)) for a in (1, -1) for b in (1, -1)] + [((0, a), (b, 0)) for a in (1, -1) for b in (1, -1)]


@st.composite
def ranges(draw, most_um=2000.0):
    low = draw(st.floats(-most_um, most_um))
    return low, low + draw(st.one_of(st.floats(20.0, most_um), st.floats(0.1, most_um)))


@st.composite
def tables(draw):
    """A power table, rising."""
    count = draw(st.integers(2, 5))
    start, power_mw = draw(st.floats(-5, 5)), draw(st.sampled_from([0.0, 0.5, 3.0]))
    steps = [draw(st.tuples(st.floats(0.01, 1.0), st.floats(0.1, 30.0))) for _ in range(count - 1)]
    values, powers = [start], [power_mw]
    for step, more_mw in steps:
        values.append(values[-1] + step)
        powers.append(powers[-1] + more_mw)
    return {"value": values, "power_mw": powers}


@st.composite
def configs(draw):
    table = draw(tables())
    reach_um = draw(st.one_of(st.none(), st.floats(1.0, 3000.0)))
    return with_changes(
        SIMULATED,
        watchdog=None,
        stall_s=60.0,
        power=table,
        limits={
            "x_um": draw(ranges()),
            "y_um": draw(ranges()),
            "z_um": draw(ranges()),
            "power_mw": max(draw(st.floats(0.1, 60.0)), table["power_mw"][0]),
            "retract_um": draw(st.floats(0.0, 500.0)),
            "retract_beyond_um": draw(st.floats(1.0, 3000.0)),
        },
        orientation={"stage_from_image": draw(st.sampled_from(MIRRORS)), "deeper_is": draw(st.sampled_from([1, -1]))},
        objective={"working_distance_um": reach_um},
    )


@st.composite
def rigs(draw):
    """A rig of obedient devices, left anywhere, whose brain surface may be known."""
    here = draw(position)
    core = ObedientCore(*here.xyz_um, steps=draw(st.sampled_from([0, 3, 2000])))
    rig = Rig(core, draw(configs()))
    low, high = rig.config.limits.z_um
    rig.surface_z_um = draw(st.one_of(st.none(), st.floats(low, high), coordinate_um))
    return rig


@st.composite
def plans(draw):
    """Plans of few planes: many that fit, some however large, bright and steep, some overviews."""
    kind = draw(st.sampled_from(["fits", "fits", "fits", "extreme", "overview"]))
    if kind == "overview":
        return OVERVIEW_PLAN.model_copy(update={"pixels": 16, "step_um": 10.0})
    fits = kind == "fits"
    step_um = draw(st.floats(0.1, 3.0) if fits else st.floats(1e-3, LARGE_UM))
    limit_mw = draw(st.floats(0.01, 0.1) if fits else st.floats(0.1, 1e4))
    return StackPlan(
        pixels=16,
        step_um=step_um,
        depth_um=step_um * draw(st.integers(2, 6)),
        frames_per_plane=draw(st.integers(1, 2)),
        power_mw=draw(st.floats(0.0, limit_mw)),
        power_limit_mw=limit_mw,
        attenuation_length_um=draw(st.one_of(st.none(), st.floats(1e-3, 1e3))),
        follow_drift=draw(st.booleans()),
        hardware_timing=draw(st.booleans()),
    )


# ---- what must hold -------------------------------------------------------------------------------------------------


def assert_within_limits(rig):
    """Nothing that was sent lies outside; it is dark."""
    core, limits, table = rig.core, rig.config.limits, rig.config.power
    up, (low, high) = -rig.config.orientation.deeper_is, rig.z_range_um
    for (x, y), _, _ in core.sent_xy:
        assert limits.x_um[0] <= x <= limits.x_um[1]
        assert limits.y_um[0] <= y <= limits.y_um[1]
    assert all(low <= z <= high for z in core.sent_z)
    for value in core.sent_power:
        assert table.value[0] <= value <= table.value[-1]
        assert table.power_at(value) <= limits.power_mw * (1 + ROUNDING)
    reach_um = rig.config.objective.working_distance_um
    if rig.surface_z_um is not None and reach_um is not None:
        assert all((rig.surface_z_um - z) * up <= reach_um * (1 + ROUNDING) + ROUNDING for z in core.sent_z)
    assert not core.is_open


few = settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.too_slow])


@few
@given(rigs(), st.lists(st.tuples(st.sampled_from(["move_to", "move_z", "power"]), position, unbounded), max_size=6))
def test_no_move_and_no_power_outside_the_limits_is_sent(rig, asked):
    for verb, place, number in asked:
        sent = len(rig.core.sent_xy) + len(rig.core.sent_z) + len(rig.core.sent_power)
        try:
            if verb == "move_to":
                rig.move_to(place)
                assert (rig.core.xy, rig.core.z) == ((place.x_um, place.y_um), place.z_um)
            elif verb == "move_z":
                rig.move_z(number)
                assert rig.core.z == number
            else:
                rig.set_power_mw(number)
                assert rig.config.power.power_mw[0] <= rig.power_mw() <= rig.config.limits.power_mw * (1 + ROUNDING)
        except RigError as error:
            assert ("outside" in str(error) or "reaches" in str(error)) and ";" in str(error)
            assert sent == len(rig.core.sent_xy) + len(rig.core.sent_z) + len(rig.core.sent_power)
    assert_within_limits(rig)
    assert rig.core.times_lit == 0


@few
@given(rigs(), st.tuples(*[st.floats(0.0, 1.0)] * 3))
def test_z_is_retracted_before_a_long_move_and_never_towards_the_tissue(rig, shares):
    limits, up, here = rig.config.limits, -rig.config.orientation.deeper_is, rig.position()
    assume(rig.z_range_um[0] < rig.z_range_um[1])
    ends = (limits.x_um, limits.y_um, rig.z_range_um)
    x, y, z = (min(low + share * (high - low), high) for share, (low, high) in zip(shares, ends, strict=True))
    place = StagePosition(x_um=x, y_um=y, z_um=z)
    rig.move_to(place)
    assert_within_limits(rig)
    ((_, _, z_then),) = rig.core.sent_xy
    if here.lateral_distance_um(place) <= limits.retract_beyond_um:
        assert z_then == here.z_um
        return
    assert (z_then - here.z_um) * up >= 0
    end = rig.z_range_um[1] if up > 0 else rig.z_range_um[0]
    retracted_um = (z_then - here.z_um) * up
    assert retracted_um >= limits.retract_um - 1e-6 or (z_then - end) * up >= 0


@pytest.mark.parametrize("kind", ["in the middle", "anywhere", "drifting"])
@few
@given(rig=rigs(), plan=plans(), place=position, data=st.data())
def test_no_stack_goes_outside_the_limits_and_none_is_refused_in_the_light(kind, rig, plan, place, data):
    centre, planes = place if kind == "anywhere" else middle_of(rig), list(range(plan.planes))
    if kind == "drifting":
        plan = plan.model_copy(update={"follow_drift": True})
    else:
        planes = planes[data.draw(st.integers(0, len(planes) - 1)) :]  # as a resumed stack has them
    near = st.tuples(st.floats(-2.0, 2.0), st.floats(-2.0, 2.0))
    steps = st.one_of(near, near, near, st.none(), st.tuples(st.just(LARGE_UM), st.floats(-2.0, 2.0)))
    drawn, sink, refused = [], PlanesInMemory(), ""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("acquire.engine.follow_drift", lambda *_: drawn.append(data.draw(steps)) or drawn[-1])
        try:
            take_stack(rig, rig.set_scan(plan), centre, [sink], planes=planes)
        except RigError as error:
            refused = str(error)
    rig.close()
    assert_within_limits(rig)
    if refused:
        assert any(word in refused for word in ("outside the limits", "reaches", "the rig allows"))
        assert rig.core.times_lit == 0 or any(drawn)
    else:
        assert [record.plane for record in sink.records] == planes


def middle_of(rig) -> StagePosition:
    """Return the middle of the limits, where stacks have most room."""
    limits = rig.config.limits
    return StagePosition(x_um=np.mean(limits.x_um), y_um=np.mean(limits.y_um), z_um=np.mean(rig.z_range_um))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused_everywhere(number):
    rig = Rig(ObedientCore(), with_changes(SIMULATED, watchdog=None))
    nowhere = StagePosition.model_construct(x_um=0.0, y_um=number, z_um=0.0)  # past its own check
    for verb, given_ in ((rig.move_z, number), (rig.set_power_mw, number), (rig.move_to, nowhere)):
        with pytest.raises(RigError, match=r"(nan|inf).* outside"):
            verb(given_)
    with pytest.raises(ValueError, match="finite number"):
        take_stack(rig, StackPlan(pixels=16), nowhere, [PlanesInMemory()])
    for name in ("x_um", "y_um", "z_um"):
        with pytest.raises(ValueError, match="finite number"):
            StagePosition(**{"x_um": 0.0, "y_um": 0.0, "z_um": 0.0, name: number})
    for name in ("depth_um", "step_um", "power_mw", "power_limit_mw", "attenuation_length_um", "field_of_view_um"):
        with pytest.raises(ValueError, match=name):
            StackPlan(**{name: number})
    assert (rig.core.sent_xy, rig.core.sent_z, rig.core.sent_power, rig.core.times_lit) == ([], [], [], 0)


def test_a_table_that_begins_above_the_limit_is_refused():
    table = PowerCalibration(value=(0.0, 1.0), power_mw=(5.0, 50.0))
    limits = {**SIMULATED.limits.model_dump(), "power_mw": 4.0}
    with pytest.raises(ValueError, match=r"least power in \[power\], 5\.0 mW, is above limits\.power_mw, 4\.0 mW"):
        with_changes(SIMULATED, power=table.model_dump(), limits=limits)


def test_the_session_knows_how_deep_the_objective_reaches(tmp_path):
    settings_ = {**SIMULATED.load_settings, "seed": 1, "half_width_um": 250.0}
    config = with_changes(SIMULATED, load_settings=settings_, objective={"working_distance_um": 60.0})
    plan = StackPlan(field_of_view_um=60.0, pixels=64, depth_um=20.0)
    with open_rig(config) as rig, Study.create(tmp_path / "study", StudyRecord(name="depth", plan=plan)) as study:
        study.new_animal(AnimalRecord(id="M1"))
        with Session.open(study, "M1", rig, day=0.0) as session:
            rig.move_z(200.0)
            rig.move_z(10.0)
            session.map_surface()
            rig.move_z(69.0)
            with pytest.raises(RigError, match=r"z = 71\.0 um .* surface \(z 10\.\d um\) .* reaches, 60\.0 um"):
                rig.move_z(71.0)
            before = rig.images_taken
            with pytest.raises(ExperimentError, match=r"objective reaches, 60\.0 um: it would touch; lower the stack"):
                session.new_field(plan=plan)
            assert rig.images_taken == before
        rig.surface_z_um = None
        with Session.open(study, "M1", rig):
            assert rig.surface_z_um == pytest.approx(10.0, abs=0.5)
        with Session.open(study, "M1", rig, day=4.0, new=True):
            assert rig.surface_z_um is None
