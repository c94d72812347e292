"""Cues of a window: crops, crop motion, boxes and features, from a video or a clip."""
