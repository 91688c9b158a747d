"""The chapters of a report: pure functions from frames to facts, tables and pictures."""
