"""What commits, deliveries, sessions and connections cost, in one process and in many nodes; see `__main__`."""
