"""Frozen values of the domain: what was asked, what was locked, and their ids. No I/O."""
