"""The laws of the layer between user and engine, one file each, as properties of random metrics and orders of calls."""
