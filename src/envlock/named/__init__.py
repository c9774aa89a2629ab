"""Named environments: aliases and their moves, pins, looking up references, and environments that extend others."""
