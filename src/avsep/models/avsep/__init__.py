"""avsep's own separator: all objects of a mixture and a rest compete for each cell."""
