"""Scores beside SDR, SIR and SAR, each by its name."""
