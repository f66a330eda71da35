"""Training (section 3.1): from a request to a run with a trained net, and the paper's ladder of nets.

A ``TrainRequest`` becomes a ``TrainingPlan``: its ``RunSettings`` (run.json), its data and its source net.
``train_run`` prepares the data, opens the net, trains and tests. ``TrainingTask`` is the input of the loop ``fit``, and
``TrainState`` is all that it changes, which a checkpoint holds.
"""
