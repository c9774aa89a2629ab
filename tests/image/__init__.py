"""Images, and the registries that they are pushed to."""
