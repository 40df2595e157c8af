"""What a cell reads and assigns, and how values travel between the notebook and its workers."""
