"""From pictures to cues: what each visible object looks like and how it moves."""
