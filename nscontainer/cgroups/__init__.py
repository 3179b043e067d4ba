"""How much a container may use: cgroups, of both versions."""
