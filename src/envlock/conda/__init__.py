"""The one place that knows py-rattler: channels, records, solving, fetching and linking of conda packages."""
