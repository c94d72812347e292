"""Detectors: pictures in, boxes with labels and scores out."""
