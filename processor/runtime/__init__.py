"""Infrastructure of a run: device, processes, precision, seeds, run folder, log, signals."""
