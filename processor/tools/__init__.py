"""The sub-commands of run.py, one file each."""
