"""What the documentation claims about speed, measured against peers in one run, as ratios."""
