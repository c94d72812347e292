"""From files to batches: clip lists, mix-and-separate, one file a data set."""
