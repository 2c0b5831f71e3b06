"""Pictures for people: traversals, interpolations, loops, posters, directions, themes."""
