"""What is looked at and listened to: self-contained pages, key frames, pictures of spectrograms."""
