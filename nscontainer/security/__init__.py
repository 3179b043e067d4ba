"""What a process of a container may still do."""
