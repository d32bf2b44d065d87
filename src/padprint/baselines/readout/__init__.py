"""PosENet: position read out of a frozen network's features by a small trained network."""
