"""One case in, one measurement out. Nothing here knows of suites, runs or files."""
