"""Classification (section 3.2): cached posteriors, errors, reports, and Tables 3-7."""
