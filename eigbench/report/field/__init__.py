"""What sets the methods of the field apart: one file for each question that a report answers."""
