"""The commands: one public function per file."""
