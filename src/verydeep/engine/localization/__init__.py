"""Localization (appendix A): what box nets say of images, merged, rated, reported and set beside the paper's rows."""
