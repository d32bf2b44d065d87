"""Studies: many measurements with known settings, kept as they are made, so that a stopped one goes on."""
