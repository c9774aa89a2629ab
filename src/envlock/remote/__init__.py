"""Steps that start on nodes: what a node needs to hydrate, and what tells it so."""
