"""How nodes hear of each other over Redis: the `Mesh`."""
