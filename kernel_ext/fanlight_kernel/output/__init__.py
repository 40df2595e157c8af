"""What tasks print, under the cell that caused it: lines kept whole, bars in place, floods bounded."""
