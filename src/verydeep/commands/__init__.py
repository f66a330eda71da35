"""One public function a file: the commands of the command line."""
