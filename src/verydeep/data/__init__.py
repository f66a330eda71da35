"""From files to images and targets; nothing here knows of models."""
