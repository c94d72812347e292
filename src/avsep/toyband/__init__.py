"""Toyband: generate audio-visual clips of performers whose motion follows their notes."""
