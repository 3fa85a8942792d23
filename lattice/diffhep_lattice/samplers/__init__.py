"""Markov-chain samplers of lattice fields."""
