"""Arrays -> pictures and their files: grids, sheets, animation."""
