"""Methods for next-scale models. They are written as those of `palimpsest.unlearning.methods`; batches are rollouts."""
