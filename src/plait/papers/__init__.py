"""What only a paper needs: its figures, its grids."""
