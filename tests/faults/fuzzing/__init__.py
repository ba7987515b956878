"""What `tests/faults/fuzz.py` is made of: a fork server, runs to damage, and one file per kind of fault."""
