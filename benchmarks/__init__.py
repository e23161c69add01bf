"""What it costs and how good it is: each module prints the table that it measures."""
