"""Least-squares projection of signals onto delayed references."""
