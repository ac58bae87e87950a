"""What a network looks like inside: its layer table, its activations, pictures, Grad-CAM, and its export.

Everything here takes a plain ``nn.Module`` and leaves it as it was. Needs torch, but not Lightning.
"""
