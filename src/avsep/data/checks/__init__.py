"""The checks of `avsep check`: overlaps of lists, faults of clips, and their report."""
