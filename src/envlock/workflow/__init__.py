"""The phases put together: lock, check, push, hydrate, show. Values in, values out; the command line renders them."""
