"""Signal processing of waveforms and spectrograms, without learning and files."""
