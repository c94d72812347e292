"""Vision networks: image encoders, object features and motion features."""
