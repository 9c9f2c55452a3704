"""How this package talks to PostgreSQL where every microsecond counts: in packets."""
