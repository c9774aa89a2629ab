"""The locks of other tools: one module for each format, with its reader and its writer."""
