"""The report of profiles: time, memory, work and traces, and what the samples of them support."""
