"""`avsep check`: what is wrong with a data set or its lists before anything is trained on them."""
