"""Separation metrics beside SDR, SIR and SAR."""
