"""Toyband: generated clips of performers who move with their notes; nothing to download."""
