"""The commands that are started often and must start fast: nothing heavy is imported while all is well."""
