"""One case in, one measurement out; nothing here knows of files."""
