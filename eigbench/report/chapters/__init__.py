"""The chapters of reports: pure functions from frames to facts, tables and pictures."""
