"""The networks, one file each, in plain PyTorch.

lenet5.py, alexnet.py and googlenet.py are the networks of the papers; article.py holds the AlexNet and the GoogLeNet of
the article this project grew from. network.py says what a network has to offer, layers.py holds the layers that PyTorch
lacks, initialisation.py the initial weights.
"""

from cnn_experiments.models.network import Network

__all__ = ["Network"]
