"""A video in, stems out: what is written, and the page to look and listen."""
