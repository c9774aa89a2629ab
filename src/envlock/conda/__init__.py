"""Everything that uses py-rattler: channels, records, solving, downloading and linking conda packages."""
