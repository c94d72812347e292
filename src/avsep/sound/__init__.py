"""Waveforms and spectrograms: no learning, no files."""
