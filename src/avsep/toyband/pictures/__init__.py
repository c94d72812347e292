"""What a band looks like: musicians, photographs, things and scenery, on a stage."""
