"""Results of evaluations: reports, files, tables, thresholds."""
