"""Results of the public functions: frozen values with a table for people and plain records for programs."""
