"""Results of nets that are kept on the disk, so that nothing is computed twice."""
