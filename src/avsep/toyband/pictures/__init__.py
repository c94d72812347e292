"""Draw the pictures of a band: musicians, photographs, distractors and backgrounds on a stage."""
