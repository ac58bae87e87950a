"""The networks, one file each, in plain PyTorch.

Every network answers to the same few calls:

- ``network(images)``: scores, shape (N, classes); the higher a score, the likelier the class;
- ``network.loss(scores, labels)``: the loss to train with, one number;
- ``network.named_children()``: its layers by the names of the literature, in the order of the paper's table;
- ``Network.input_size``: the side of the square images it takes, in pixels.
"""
