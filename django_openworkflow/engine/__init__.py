"""One pass of one run: replay what is saved, execute what is not, settle how it ended."""
