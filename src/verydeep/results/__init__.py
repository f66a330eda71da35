"""What the public functions return: frozen values with a table for people and plain records for programs."""
