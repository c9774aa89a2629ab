"""The parts of `lock`: what there is to lock, what it starts from, how it is solved, what is pruned."""
