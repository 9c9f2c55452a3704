"""One program for each contestant, run in the environment that the contestant is installed in."""
