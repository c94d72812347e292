"""Find how many samples of priming a decoder hands out that its container does not tell."""

from fractions import Fraction

from av.audio.stream import AudioStream
from av.container import InputContainer

# Samples before the sound, by codec. AAC, AC-3: half a transform, which the decoder cannot complete
# without the frame before the first. MP2: the filter bank of encoder and decoder. MP3: that of LAME
# and FFmpeg, 576, and of every decoder, 529. Encoders may add more and have no way to say so in a
# file without such a field: Apple's AAC 2112 samples in all.
_SAMPLES = {"aac": 1024, "aac_latm": 1024, "ac3": 256, "eac3": 256, "mp2": 481, "mp3": 1105}
# AAC profiles with transforms of 1024 samples. High-efficiency ones prime by encoder-specific
# lengths, of which nothing is known here.
_AAC_PROFILES = ("LC", "Main", "LTP", None)


def untold_priming_samples(container: InputContainer, stream: AudioStream) -> int:
    """Return the samples of priming at the start of a stream that FFmpeg will not take off.

    It takes off by itself what a container tells: edit lists of MP4, CodecDelay of Matroska,
    pre-skip of Opus, the tag of LAME. 0 there, and for codecs without priming.
    """
    context = stream.codec_context
    codec = context.codec.canonical_name
    if codec.startswith("aac") and context.profile not in _AAC_PROFILES:
        return 0
    return 0 if _is_told(container, stream) else _SAMPLES.get(codec, 0)


def untold_priming_seconds(container: InputContainer, stream: AudioStream) -> Fraction:
    """Return `untold_priming_samples` as a time."""
    rate_hz = stream.codec_context.sample_rate
    return Fraction(untold_priming_samples(container, stream), rate_hz) if rate_hz else Fraction(0)


def _is_told(container: InputContainer, stream: AudioStream) -> bool:
    """Return whether the container states the priming of a stream."""
    formats = container.format.name
    start = stream.start_time or 0
    if formats.startswith("mov,"):
        # With an edit list the priming comes before the start.
        entries = stream.index_entries
        return len(entries) > 0 and entries[0].timestamp < start
    if formats.startswith("matroska"):
        return bool(stream.codec_context.delay)
    return formats == "mp3" and start > 0
