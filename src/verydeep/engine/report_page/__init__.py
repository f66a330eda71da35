"""The report page: one HTML file about runs and their evaluations, with photographs, that needs no network."""
