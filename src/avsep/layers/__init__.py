"""Parts of networks drawn in more than one paper: U-Nets, attention, positions."""
