"""What an evaluation leaves behind: results.json, tables, a page, figures."""
