"""Packs: an environment's finished prefix, the same bytes wherever it is made."""
