"""Arrays -> picture files: grids, charts, animation."""
