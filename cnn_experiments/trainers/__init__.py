"""Lightning's Trainer, made from the config group ``trainer``, and the callbacks that write a run directory."""
