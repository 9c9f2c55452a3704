"""The store's hot verbs as SQL of PostgreSQL: one statement per kind, whatever the number."""
