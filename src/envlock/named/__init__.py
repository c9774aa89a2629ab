"""Named environments: aliases and their moves, pins, what references stand for, and environments that extend others."""
