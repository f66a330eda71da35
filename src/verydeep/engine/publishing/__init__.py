"""Nets on their way out: model folders with a card, and the Hugging Face Hub."""
