"""Networks: loaded, copied, tapped, and left as they were found."""
