"""Small recordings as the programs of other microscopes lay them down: XML by hand, a few planes of noise."""

from pathlib import Path

import numpy as np
import tifffile

VOXEL_UM = (1.5, 0.13, 0.12)
PIXELS = np.random.default_rng(7).integers(0, 4000, (5, 2, 16, 20), dtype=np.uint16)  # z, channel, y, x
STAGE_UM = {"x": 330.78, "y": -787.33, "z": 815.33}
PRAIRIE_DATE = "11/23/2016 2:05:07 PM"


def write_prairie(folder: Path, pixels=PIXELS, *, date=PRAIRIE_DATE, kind="ZSeries", **other) -> Path:
    """Write a Z-series as Prairie View 5.4 does: state in PVStateValue elements, position of two z drives a frame."""
    folder.mkdir(parents=True)
    frames = []
    steps = other.get("depths_um", [VOXEL_UM[0] * n for n in range(len(pixels))])
    middle = steps[len(steps) // 2]
    for number, plane in enumerate(pixels, start=1):
        files = []
        for channel, image in enumerate(plane, start=1):
            name = f"{folder.name}_Cycle00001_Ch{channel}_{number:06d}.ome.tif"
            tifffile.imwrite(folder / name, image)
            files.append(f'<File channel="{channel}" channelName="Ch{channel}" page="1" filename="{name}" />')
        focus = STAGE_UM["z"] + 125 - middle + steps[number - 1]
        frames.append(
            f"""<Frame relativeTime="{number}" absoluteTime="{number}" index="{number}" parameterSet="CurrentSettings">
      {"".join(files)}
      <ExtraParameters lastGoodFrame="0" />
      <PVStateShard><PVStateValue key="positionCurrent">
        <SubindexedValues index="ZAxis">
          <SubindexedValue subindex="0" value="{focus:.2f}" description="Z Focus" />
          <SubindexedValue subindex="1" value="-125" description="Bruker 250 um Piezo" />
        </SubindexedValues></PVStateValue></PVStateShard>
    </Frame>"""
        )
    cycles = other.get("cycles", 1)
    sequence = f'<Sequence type="{kind}" cycle="1" time="14:05:07.1">{"".join(frames)}</Sequence>'
    pixel = other.get(
        "pixel",
        f"""<PVStateValue key="micronsPerPixel">
      <IndexedValue index="XAxis" value="{VOXEL_UM[2]}" /><IndexedValue index="YAxis" value="{VOXEL_UM[1]}" />
      <IndexedValue index="ZAxis" value="5" /></PVStateValue>""",
    )
    (folder / f"{folder.name}.xml").write_text(
        f"""<?xml version="1.0" encoding="utf-8"?>
<PVScan version="5.4.64.700" date="{date}" notes="">
  <PVStateShard>
    <PVStateValue key="bitDepth" value="12" />
    <PVStateValue key="linesPerFrame" value="16" />
    {pixel}
    <PVStateValue key="positionCurrent">
      <SubindexedValues index="XAxis"><SubindexedValue subindex="0" value="330.78" /></SubindexedValues>
      <SubindexedValues index="YAxis"><SubindexedValue subindex="0" value="-787.33" /></SubindexedValues>
    </PVStateValue>
  </PVStateShard>
  {sequence * cycles}
</PVScan>"""
    )
    return folder


def write_old_prairie(folder: Path, pixels=PIXELS) -> Path:
    """Write a Z-series as Prairie View before 5.2 does: Key elements in every frame."""
    folder.mkdir(parents=True)
    frames = []
    for number, plane in enumerate(pixels, start=1):
        name = f"{folder.name}_Cycle001_CurrentSettings_Ch1_{number:06d}.tif"
        tifffile.imwrite(folder / name, plane[0])
        keys = {
            "micronsPerPixel_XAxis": VOXEL_UM[2],
            "micronsPerPixel_YAxis": VOXEL_UM[1],
            "positionCurrent_XAxis": 0.95,
            "positionCurrent_YAxis": -4.45,
            "positionCurrent_ZAxis": f"-9,{62.45 + VOXEL_UM[0] * number:.2f}",
        }
        state = "".join(f'<Key key="{k}" permissions="Write, Save" value="{v}" />' for k, v in keys.items())
        frames.append(
            f'<Frame relativeTime="0" absoluteTime="{number}" index="{number}" label="CurrentSettings">'
            f'<File channel="1" channelName="Ch1" filename="{name}" /><PVStateShard>{state}</PVStateShard></Frame>'
        )
    (folder / f"{folder.name}.xml").write_text(
        '<?xml version="1.0" encoding="utf-8"?><PVScan version="4.0.0.53" date="3/23/2012 9:47:15 AM" notes="">'
        f'<Sequence type="TSeries ZSeries Element" cycle="1">{"".join(frames)}</Sequence></PVScan>'
    )
    return folder


def write_thorimage(folder: Path, pixels=PIXELS, *, raw=False, streaming=0, fast=0, flyback=0, **other) -> Path:
    """Write a stack as ThorImageLS 4 does: TIFF planes with their number in the name, or one raw file."""
    folder.mkdir(parents=True)
    steps, channels, height, width = pixels.shape
    names = "AB"[:channels]
    if raw:
        extra = np.zeros((flyback, *pixels.shape[1:]), np.uint16)
        np.concatenate([pixels, extra]).astype("<u2").tofile(folder / "Image_001_001.raw")
    else:
        for z, plane in enumerate(pixels, start=1):
            for name, image in zip(names, plane, strict=True):
                tifffile.imwrite(folder / f"Chan{name}_001_001_{z:03d}_001.tif", image)
        tifffile.imwrite(folder / "ChanA_Preview.tif", pixels[0, 0, ::2, ::2])
    waves = "".join(f'<Wavelength name="Chan{name}" exposureTimeMS="0" />' for name in names)
    unix = "" if other.get("no_time") else ' uTime="1545330832"'
    (folder / "Experiment.xml").write_text(
        f"""<?xml version="1.0"?>
<ThorImageExperiment>
  <Name name="{folder.name}" /><Date date="{other.get("date", "12/20/2018 18:33:52")}"{unix} />
  <Software version="4.0.2020.2171" />
  <Wavelengths nyquistExWavelengthNM="488">{waves}<ChannelEnable Set="{2**channels - 1}" /></Wavelengths>
  <ZStage name="ThorZPiezo" enable="1" steps="{steps}" stepSizeUM="-{VOXEL_UM[0]}" startPos="0.5" />
  <Timelapse timepoints="{other.get("times", 1)}" intervalSec="60" />
  <Sample name="a" initialStageLocationX="1.25" initialStageLocationY="-0.5" />
  <LSM name="ResonanceGalvo" pixelX="{width}" pixelY="{height}" pixelSizeUM="2.93" widthUM="{VOXEL_UM[2] * width}"
       heightUM="{VOXEL_UM[1] * height}" averageMode="0" averageNum="10" />
  <Streaming enable="{streaming}" frames="3000" zFastEnable="{fast}" flybackFrames="{flyback}" />
</ThorImageExperiment>"""
    )
    return folder


def write_oif(file: Path, pixels=PIXELS) -> Path:
    """Write a stack as Olympus FluoView 10 does: settings in UTF-16, a TIFF a plane and channel in a folder beside."""
    steps, channels, height, width = pixels.shape
    folder = file.with_name(f"{file.name}.files")
    folder.mkdir(parents=True)
    for z, plane in enumerate(pixels, start=1):
        for channel, image in enumerate(plane, start=1):
            tifffile.imwrite(folder / f"s_C{channel:03d}Z{z:03d}.tif", image)
    axes = {"X": (width, 0, 2.4, "um"), "Y": (height, 0, 2.08, "um"), "C": (channels, 1, channels, "Ch")}
    axes["Z"] = (steps, 6000.0, 6000.0 - 1000 * VOXEL_UM[0] * (steps - 1), "nm")
    sections = [
        '[ProfileSaveInfo]\nName="OIF"\nVersion="1.0"',
        '[Version Info]\nFileVersion="1.2.6.0"\nSystemName="FLUOVIEW FV1000"\nSystemVersion="2.0.8.3"',
        "[Acquisition Parameters Common]\nImageCaputreDate='2008-05-06 12:34:56'",
        '[Axis Parameter Common]\nAxisOrder="XYCZ"',
    ]
    for number, (code, (size, start, end, unit)) in enumerate(axes.items()):
        sections.append(
            f'[Axis {number} Parameters Common]\nAxisCode="{code}"\nMaxSize={size}\nStartPosition={start}\n'
            f'EndPosition={end}\nUnitName="{unit}"'
        )
    sections.append(
        f'[Reference Image Parameter]\nValidBitCounts=12\nWidthConvertValue={VOXEL_UM[2]}\nWidthUnit="um"\n'
        f'HeightConvertValue={VOXEL_UM[1]}\nHeightUnit="um"'
    )
    file.write_bytes(b"\xff\xfe" + "\r\n".join("\n".join(sections).split("\n")).encode("utf-16-le"))
    return file


def write_lsm(file: Path, pixels=PIXELS[:, 0]) -> Path:
    """Write a stack as Zeiss LSM files hold it: CZ_LSMINFO in a tag of the first page, a thumbnail after each plane."""
    steps, height, width = pixels.shape
    values = {
        "MagicNumber": 67127628, "DimensionX": width, "DimensionY": height, "DimensionZ": steps, "DimensionChannels": 1,
        "DimensionTime": 1, "DataType": 2, "ThumbnailX": width // 2, "ThumbnailY": height // 2,
        "VoxelSizeX": VOXEL_UM[2] * 1e-6, "VoxelSizeY": VOXEL_UM[1] * 1e-6, "VoxelSizeZ": VOXEL_UM[0] * 1e-6,
    }  # fmt: skip
    kinds = [(name, "<" + kind if kind[0] not in "<>" else kind) for name, kind in tifffile.TIFF.CZ_LSMINFO]
    record = np.zeros(1, np.dtype([(name, kind) for name, kind in kinds]))
    record["StructureSize"] = record.nbytes
    for name, value in values.items():
        record[name] = value
    tag = [(34412, "B", record.nbytes, record.tobytes(), True)]
    with tifffile.TiffWriter(file) as tiff:
        for number, plane in enumerate(pixels):
            tiff.write(plane, photometric="minisblack", metadata=None, extratags=tag if number == 0 else ())
            tiff.write(plane[::2, ::2].copy(), photometric="minisblack", metadata=None, subfiletype=1)
    return file
