"""The data sets, one file each, as Lightning data modules.

Besides Lightning's own calls, every data module has ``class_names`` and turns the bytes of its images into the
network's input on the device, a batch at a time.
"""
