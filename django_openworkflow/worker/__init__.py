"""Many runs at a time: the ledger that writes for them, threads, leases, upkeep."""
