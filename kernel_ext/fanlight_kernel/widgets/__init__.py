"""The monitor under a cell and live reprs: widgets, with static pictures of the same for elsewhere."""
