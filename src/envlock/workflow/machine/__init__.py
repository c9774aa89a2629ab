"""This machine: the environments and everything else in envlock's home, what needs them, and what is wrong here."""
