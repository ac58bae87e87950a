"""The commands, one file each: words in, a sentence or a table out. The only room that knows Hydra."""
