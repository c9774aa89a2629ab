"""What the team's flows share."""


def mean(values):
    """The mean of some numbers."""
    return sum(values) / len(values)
