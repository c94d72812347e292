"""Media files: read and write audio and video, streamed."""
