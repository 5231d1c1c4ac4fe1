"""The portrait renderer: a landmark warp that moves one picture of a face."""
