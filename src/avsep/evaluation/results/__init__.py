"""The results of an evaluation: results.json, tables, a page, figures."""
