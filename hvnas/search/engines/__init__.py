"""Where the estimates of a search are made: in this process or on a Ray cluster."""
