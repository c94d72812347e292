"""Write the output folder of a separation."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
from jaxtyping import Float32

from avsep.errors import InputError
from avsep.media.atomic import write_atomic
from avsep.media.video_files import mp4_holds
from avsep.records import Clip
from avsep.separation.output_folder import (
    earlier_result,
    part_folder,
    replace_folder,
)
from avsep.separation.presentation import (
    Playback,
    draw_key_frame,
    encode_sounds,
    report_page,
    report_seconds,
    write_preview,
)
from avsep.separation.progress import Progress, StageClock, no_progress
from avsep.separation.result import (
    MANIFEST_NAME,
    PREVIEW_NAME,
    PROJECT_NAME,
    REPORT_NAME,
    Manifest,
    Result,
)
from avsep.separation.settings import OutputSettings
from avsep.separation.stem_writing import StemPlan, check_format, write_stems
from avsep.separation.stream import SeparationStream
from avsep.separation.timeline_project import write_project
from avsep.separation.video_input import VideoInput


def write_stream(
    stream: SeparationStream,
    folder: Path,
    progress: Progress = no_progress,
    output: OutputSettings | None = None,
) -> Manifest:
    """Separate a video into a folder, block by block, and return the manifest as written.

    First the stems, with a manifest that names no preview and no report; they take the place of an
    earlier result of the same video in one step. Then preview, report and project, read from the
    stems, and the whole manifest. As 32-bit float WAV stems are exact: with residual.wav they sum
    to the mixture.

    Raises:
        InputError: the folder contains something else, or cannot be written; an object that there
            is not; and all that the stream raises.
    """
    output = output or OutputSettings()
    _check_folder(folder, stream.video_input)
    # Before the whole sound is listened to, which takes long for a long video.
    check_format(output, stream.num_channels, stream.video_input.name)
    with stream:
        plan = StemPlan.build(
            stream.objects,
            stream.video_input.name,
            stream.num_channels,
            stream.sample_rate_hz,
            output,
        )
        with part_folder(folder) as part:
            written = write_stems(part, plan, stream.blocks(), stream.clock, progress)
            manifest = written.describe(stream.manifest())
            _write_manifest(_without_presentation(manifest), part)
            replace_folder(part, folder)
    return _add_presentation(folder, manifest, stream.video_input, stream.gate, progress)


def write_result(result: Result, folder: Path, output: OutputSettings | None = None) -> Manifest:
    """Write all files of a result that is in memory, as `write_stream` does.

    Raises:
        InputError: the folder contains something else, or cannot be written; an object that there
            is not.
    """
    output = output or OutputSettings()
    _check_folder(folder, result.video_input)
    num_channels = result.manifest.num_channels
    plan = StemPlan.build(
        result.objects, result.video_input.name, num_channels, result.sample_rate_hz, output
    )
    with part_folder(folder) as part:
        written = write_stems(part, plan, result.blocks(), StageClock(), no_progress)
        manifest = written.describe(result.manifest)
        _write_manifest(_without_presentation(manifest), part)
        replace_folder(part, folder)
    gate = result.gate
    if gate is not None:
        fraction = report_seconds(manifest) * manifest.sample_rate_hz / manifest.num_samples
        gate = gate[..., : max(1, round(gate.shape[-1] * fraction))]
    return _add_presentation(folder, manifest, result.video_input, gate, no_progress)


def _without_presentation(manifest: Manifest) -> Manifest:
    """Return the manifest that is written with the stems."""
    changes = {"preview": None, "report": None, "project": None, "is_complete": False}
    return manifest.model_copy(update=changes)


def _check_folder(folder: Path, video_input: VideoInput) -> None:
    """Check that a folder contains nothing but an earlier result of the same video."""
    earlier = earlier_result(folder)
    if earlier and not earlier.input.is_same_video(video_input):
        raise InputError(
            f"'{folder}' contains the result of another video, '{earlier.input.name}': give "
            "another folder, or move it away"
        )


def _add_presentation(
    folder: Path,
    manifest: Manifest,
    video_input: VideoInput,
    gate: Float32[np.ndarray, "S h w"] | None,
    progress: Progress,
) -> Manifest:
    """Add preview, report, project and the manifest that names them to a folder of stems."""
    begin = time.perf_counter()
    with part_folder(folder) as part:
        playback = Playback(folder, manifest, Event())
        # Before the preview: a file object of the caller has one position for all its readers.
        key_frame, manifest = _draw_key_frame(video_input, manifest)
        # The preview is encoded by FFmpeg, which leaves Python free to encode the report's sounds.
        with ThreadPoolExecutor(1) as pool:
            sounds = pool.submit(encode_sounds, playback)
            try:
                manifest = _write_preview(part, manifest, video_input, playback, progress)
            except BaseException:
                playback.stop.set()
                raise
        if manifest.output.project:
            write_project(part / PROJECT_NAME, folder, manifest, video_input)
            manifest = manifest.model_copy(update={"project": PROJECT_NAME})
        manifest = manifest.model_copy(
            update={"run": manifest.run.with_stage("presentation", time.perf_counter() - begin)}
        )
        page = report_page(playback, manifest, sounds.result(), gate, key_frame)
        write_atomic(part / REPORT_NAME, page)
        _write_manifest(manifest, part)
        # The manifest last: it names no file that is not there.
        for name in (manifest.preview, manifest.report, manifest.project, MANIFEST_NAME):
            if name:
                (part / name).replace(folder / name)
    return manifest


def _draw_key_frame(video_input: VideoInput, manifest: Manifest) -> tuple[bytes | None, Manifest]:
    """Draw the key frame; return the manifest, with a warning where no frame can be decoded."""
    if not video_input.has_pictures:
        return None, manifest
    try:
        return draw_key_frame(video_input, manifest), manifest
    except InputError as error:
        # The stems are exact whatever the state of the pictures: keep them.
        return None, _with_warning(manifest, f"{REPORT_NAME} has no key frame: {error}")


def _write_preview(
    folder: Path,
    manifest: Manifest,
    video_input: VideoInput,
    playback: Playback,
    progress: Progress,
) -> Manifest:
    """Write the preview; return the manifest, with a warning where that is not possible."""
    if manifest.output.preview == "none" or not video_input.has_pictures:
        return manifest.model_copy(update={"preview": None})
    name = f"preview.{manifest.output.preview}"
    pictures = video_input.pictures
    try:
        if name == PREVIEW_NAME and not isinstance(pictures, Clip) and not mp4_holds(pictures):
            name = "preview.mkv"
        warnings = write_preview(folder / name, video_input, playback, progress)
    except InputError as error:
        # The stems are exact whatever the state of the pictures: keep them.
        manifest, name = manifest.model_copy(update={"preview": None}), f"{name} is not written"
        warnings = [str(error)]
    else:
        manifest = manifest.model_copy(update={"preview": name})
    for warning in warnings:
        # Without the hidden folder, which is gone when the warning is read.
        text = warning.replace(f"{folder}{os.sep}", "")
        manifest = _with_warning(manifest, f"{name}: {text}")
    return manifest


def _with_warning(manifest: Manifest, warning: str) -> Manifest:
    return manifest.model_copy(update={"warnings": (*manifest.warnings, warning)})


def _write_manifest(manifest: Manifest, folder: Path) -> None:
    content = json.dumps(manifest.model_dump(mode="json"), indent=1)
    write_atomic(folder / MANIFEST_NAME, content + "\n")
