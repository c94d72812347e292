"""Listening tests: blind A/B trials on one page, and the count of their votes."""
