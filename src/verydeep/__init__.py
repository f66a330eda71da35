"""The whole system of the VGG paper: Simonyan and Zisserman, arXiv 1409.1556."""
