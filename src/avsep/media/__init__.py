"""Files: read and write sound and video, streamed."""
