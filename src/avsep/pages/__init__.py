"""Self-contained HTML pages, figures, key frames and spectrogram pictures."""
