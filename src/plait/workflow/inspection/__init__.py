"""What pretraining does to the representations: ``plait inspect``; every measure is one function of its own."""
