"""What is run and what is kept: suites, cases, records, the folder they live in, the one loop."""
