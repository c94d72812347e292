"""Separate a video into one stem per object, with report page and preview."""
