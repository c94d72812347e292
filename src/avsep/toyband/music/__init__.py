"""The music of a clip: registers, melody, harmony, the score, and its performance on notes."""
