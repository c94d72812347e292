"""How much of a signal delayed references explain: least squares over their filters."""
