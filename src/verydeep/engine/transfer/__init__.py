"""Transfer (appendix B): linear SVMs on descriptors of images, trained and tested by a data set's rules.

task.py             a data set and a representation; the result on all of its partitions
partition.py        one partition: SVMs are trained on one part and tested on the other
scoring.py          margins -> the score of a data set
svm_training.py     C is chosen, SVMs are trained
linear_svms.py      trained SVMs: weights and biases
classifier.py       SVMs and a representation on disk
curve.py            the score with fewer photographs
report.py           messages and files of a transfer
table_cells.py      the cells of Tables 11 and 12; paper_tables.py puts them next to the published ones
"""
