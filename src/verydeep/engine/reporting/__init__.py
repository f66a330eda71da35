"""What all reports share: measured tables beside the paper's, comparisons of rows, caveats, confusions."""
