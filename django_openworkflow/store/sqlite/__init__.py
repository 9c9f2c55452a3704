"""The store's hot verbs as SQL of SQLite: one statement per kind, executed for all rows of it."""
