"""The report of trainings: trials gathered into cells, beside what the paper prints."""
