"""One pass over images: crops, forwards, checks and moments."""
