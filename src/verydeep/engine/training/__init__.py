"""Training (section 3.1): from what is asked for to a run with a trained net, and the paper's ladder of nets.

What a user leaves open (``TrainRequest``) is decided (``RunSettings``, kept in run.json) and checked against data and source
(``TrainingPlan``); ``TrainingTask`` is what the loop in ``fit`` is given, ``TrainState`` what it changes and a checkpoint holds.
"""
