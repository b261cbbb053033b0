"""Prompt-free instance unlearning: forget single images in a diffusion model and keep everything else."""
