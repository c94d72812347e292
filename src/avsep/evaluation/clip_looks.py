"""What the objects of a data set's clip look like, as video or pictures, or unseen."""

from collections.abc import Sequence

from avsep.data.clips import ClipFiles, frame_paths, read_picture
from avsep.records import VisibleObject
from avsep.vision.looks import Look, LookSettings, look_at, look_at_pictures, nothing_to_see


def look_at_clip(
    clip: ClipFiles,
    objects: Sequence[VisibleObject],
    settings: LookSettings,
    *,
    end_seconds: float | None = None,
) -> tuple[Look, ...]:
    """The look of each object of a clip, from one pass over its pictures; black where it has none.

    Args:
        clip: of any data set.
        objects: all that it shows; the order is kept.
        settings: sizes and rates.
        end_seconds: length of the sound; none: the looks end with the pictures.
    """
    if not clip.is_seen:
        return nothing_to_see(len(objects), settings)
    if not clip.video.is_dir():
        return look_at(clip.video, objects, settings, end_seconds=end_seconds)
    assert clip.frame_rate_hz is not None, "a folder of pictures has a frame rate"
    paths = frame_paths(clip)
    times_seconds = (number / clip.frame_rate_hz for number in range(len(paths)))
    pictures = map(read_picture, paths)
    return look_at_pictures(pictures, times_seconds, objects, settings, end_seconds)
