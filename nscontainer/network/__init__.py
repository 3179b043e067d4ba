"""Network interfaces of a container: the host's half and the container's half of making them, and their counters."""
