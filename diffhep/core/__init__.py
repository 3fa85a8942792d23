"""What every pillar stands on: runs, checkpoints, training, statistics. It knows no physics."""
