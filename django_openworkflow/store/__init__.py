"""Rows in and out for workers: few set-based verbs, each of them one transaction."""
