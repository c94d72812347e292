"""The listening test: a page of hidden pairs, and the votes counted."""
