"""How training frameworks see our metrics: Lightning, accelerate, and the Trainer of transformers.

Each is a room of its own, which is imported when one of its objects is met or asked for.
"""
