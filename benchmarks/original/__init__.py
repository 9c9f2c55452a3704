"""The same troubles for the TypeScript original: ``python -m benchmarks.original``."""
