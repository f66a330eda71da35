"""Parts that all reports share: measured tables, comparisons of rows, remarks, confusion."""
