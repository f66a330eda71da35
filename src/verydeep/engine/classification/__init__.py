"""Classification (section 3.2): what nets say of images, kept, rated, reported, set beside the paper's Tables 3-7."""
