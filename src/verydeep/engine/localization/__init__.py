"""Localization (appendix A): boxes that nets predict, merged and rated; reports, and Tables 8-10."""
