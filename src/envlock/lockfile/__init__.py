"""The lock documents: their text, their folder, and whether they still agree with envlock.toml.

A lock is complete (nothing is decided after it), readable, a valid PEP 751 file for its arch, one line for a package,
the same byte for byte wherever it is written, and can be judged without a network.
"""
