"""Device properties for the engineer: read as they are, set under the limits of everything else."""

import pytest

from acquire.checks import findings_of
from acquire.config import read_rig_config
from acquire.errors import RigError
from acquire.model import Light
from acquire.opening import open_rig
from acquire.properties import read_properties, set_property
from tests import test_faults as faulty


@pytest.fixture(scope="module")
def rig():
    config = read_rig_config("simulated")
    settings = {**config.load_settings, "half_width_um": 150.0, "shutter_file": None}
    with open_rig(config.model_copy(update={"load_settings": settings, "watchdog": None})) as opened:
        yield opened


@pytest.fixture
def faults(rig):
    watched = faulty.Faults(rig.core)
    yield watched
    watched.heal()


def named(rig):
    return {str(one): one for one in read_properties(rig)}


def test_all_properties_are_read_with_what_they_are_for(rig):
    rig.dim()
    found = named(rig)
    voltage, zoom = found["Pockels.Voltage"], found["Scanner.Zoom"]
    assert (voltage.role, voltage.value, voltage.kind) == ("power", "0", "number")
    assert (zoom.role, zoom.limits) == ("zoom", (1.0, 40.0))
    assert found["Scanner.BitDepth"].why_not == "Scanner does not let it be set"
    assert not [name for name in found if name.startswith("Core.")]


def test_a_property_is_set_and_read_back(rig):
    assert set_property(rig, "Scanner", "Zoom", "7.5").value == "7.5"
    assert set_property(rig, "Scanner", "Resolution", "256").value == "256"
    assert set_property(rig, "Pockels", "Voltage", "0.3").value == "0.3"
    assert rig.power_mw() == pytest.approx(12.366, rel=1e-3)
    rig.dim()


@pytest.mark.parametrize(
    ("device", "name", "value", "complaint"),
    [
        ("Scanner", "Zoom", "99", r"Scanner\.Zoom = 99 is outside 1 to 40"),
        ("Scanner", "Zoom", "much", r"Scanner\.Zoom needs a number, not 'much'"),
        ("Scanner", "BitDepth", "8", "does not let it be set"),
        ("Pockels", "Voltage", "0.95", r"power 59\.3 mW is outside 0 to 50\.0 mW"),
        ("Pockels", "Voltage", "1.2", "outside"),
    ],
)
def test_what_goes_around_a_limit_is_refused(rig, device, name, value, complaint):
    rig.dim()
    with pytest.raises(RigError, match=complaint):
        set_property(rig, device, name, value)
    assert rig.power_mw() == 0.0


def test_a_property_that_cannot_be_read_says_so_and_hides_no_other(rig, faults):
    faults.spoil("getProperty Pockels.Voltage", 0, faulty.fail)
    found = named(rig)
    assert found["Pockels.Voltage"].trouble == "reading Pockels.Voltage failed: the cable is out"
    assert found["Scanner.Zoom"].trouble == ""


def test_a_property_that_reads_otherwise_is_told(rig, faults):
    faults.spoil("getProperty Scanner.Zoom", 1, lambda real: real() * 1.5)
    with pytest.raises(RigError, match=r"Scanner\.Zoom reads 7\.5 after it was set to 5"):
        set_property(rig, "Scanner", "Zoom", "5")


def test_shutter_and_motors_are_not_moved_by_properties():
    with open_rig(read_rig_config("demo")) as rig:
        found = named(rig)
        shut = [one for name, one in found.items() if name.startswith("White Light Shutter.")]
        assert shut
        assert all("by the light alone" in one.why_not for one in shut)
        with pytest.raises(RigError, match="by the light alone"):
            set_property(rig, "White Light Shutter", "State", "1")
        assert "moves" in found["Z.Position"].why_not


def test_a_check_of_the_rig_says_what_works_and_what_failed(rig, faults):
    good = findings_of(rig)
    assert [one.text for one in good if one.light is Light.AMBER] == [
        "no watchdog: when this program is killed the light stays as it is; close it by hand then"
    ]
    assert not [one for one in good if one.light is Light.RED]
    faults.spoil("snapImage", 0, faulty.fail)
    bad = findings_of(rig)
    (red,) = [one.text for one in bad if one.light is Light.RED]
    assert "taking an image with Scanner failed: the cable is out; what comes after it was not checked" in red
    assert bad[0].text.startswith("xy_stage XY: moved")
