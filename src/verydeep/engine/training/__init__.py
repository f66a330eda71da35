"""Training (section 3.1): from options to a run with a trained net, and the paper's ladder of nets.

A user's options (``TrainRequest``) are completed (``RunSettings``, kept in run.json) and checked against the data and
the source net (``TrainingPlan``). ``TrainingTask`` is the input of the loop in ``fit``; ``TrainState`` is what the loop
changes and a checkpoint holds.
"""
