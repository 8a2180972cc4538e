"""Metrics of segmentation masks: intersection over union, and Dice scores."""

from syncmetrics.segmentation.dice import DiceScore
from syncmetrics.segmentation.generalized_dice import GeneralizedDiceScore
from syncmetrics.segmentation.mean_iou import MeanIoU

__all__ = ["DiceScore", "GeneralizedDiceScore", "MeanIoU"]
