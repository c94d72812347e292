"""What a band plays: registers, melodies, harmony, the score, and its performance on notes."""
