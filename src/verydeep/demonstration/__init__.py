"""The page of `verydeep demo`: nets, classifiers and archives tried in a browser, with public functions alone."""
