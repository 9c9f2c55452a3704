"""The cancellation rules, row by row and guarantee by guarantee."""
