"""Images of environments, and the registries that they are pushed to, by the distribution API: no docker, no root."""
