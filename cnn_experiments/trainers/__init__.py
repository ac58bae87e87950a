"""Training: the one LightningModule, the one LightningDataModule, the Trainer and its callbacks.

This is the only room that knows Lightning. `fit.py` shows a training run from beginning to end.
"""
