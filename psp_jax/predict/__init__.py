"""Predicts depth, edges and regions of images, videos and recordings with a trained run."""
