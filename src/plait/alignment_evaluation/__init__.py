"""How good a shared space is: sentence similarity, paraphrase, zero-shot classes, probes, retrieval."""
